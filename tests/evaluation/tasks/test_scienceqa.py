from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.task import Sample
from llava_tools.evaluation.tasks.scienceqa import ScienceQA, parse_choice
from tests.evaluation.recorded import read_recorded
from tests.evaluation.tasks.folders import touch_images, write_json

LETTER = "Answer with the option's letter from the given choices directly."
LLAVA = "llava_test_CQM-A.json"


def _problem(**change: Any) -> dict[str, Any]:
    problem = {
        "question": "Which is the warmest?",
        "choices": ["ice", "tea"],
        "answer": 1,
        "hint": "",
        "image": None,
        "lecture": "Warmth is what  a thermometer shows.",
        "split": "test",
    }
    return {**problem, **change}


def _problems() -> dict[str, Any]:
    return {
        "7": _problem(hint="Look at  the cups.\nThey differ.", image="image.png"),
        "12": _problem(choices=["See you,\nJack", "a", "b", "c", "d"]),
        "13": _problem(split="train"),
    }


def _conversation(name: str, text: str, **fields: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": text}, {"from": "gpt", "value": "B"}]
    return {"id": name, **fields, "conversations": turns}


def _write(folder: Path, problems: Any = None, test: Any = ("7", "12")) -> None:
    touch_images(folder / "images" / "test" / "7", "image.png")
    write_json(folder / "problems.json", _problems() if problems is None else problems)
    write_json(folder / "pid_splits.json", {"train": ["13"], "test": test})


def test_official_files_are_read_in_llavas_words(tmp_path: Path) -> None:
    _write(tmp_path)

    with_image, without = ScienceQA().load(tmp_path)

    assert with_image.id == "7"
    assert with_image.question == (
        "Context: Look at the cups.\nThey differ.\nWhich is the warmest?\nA. ice\nB. tea\n" + LETTER
    )
    assert with_image.image == tmp_path / "images" / "test" / "7" / "image.png"
    assert with_image.truth == {"choices": 2, "answer": 1}
    assert with_image.max_tokens == 1024
    assert without.id == "12"
    assert without.question == (
        f"Which is the warmest?\nA. See you,\nJack\nB. a\nC. b\nD. c\nE. d\n{LETTER}"
    )
    assert without.image is None


def test_file_of_llava_has_the_words(tmp_path: Path) -> None:
    _write(tmp_path)
    conversations = [
        _conversation("12", "Which?\nA. x\nB. y"),
        _conversation("7", "<image>\nContext: Cups.\nWhich?\nA. ice\nB. tea", image="7/image.png"),
    ]
    write_json(tmp_path / LLAVA, conversations)

    with_image, without = ScienceQA().load(tmp_path)

    assert with_image.question == f"Context: Cups.\nWhich?\nA. ice\nB. tea\n{LETTER}"
    assert with_image.image == tmp_path / "images" / "test" / "7" / "image.png"
    assert with_image.truth == {"choices": 2, "answer": 1}
    assert without.question == f"Which?\nA. x\nB. y\n{LETTER}"
    assert without.image is None


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        ("B", 1),
        ("B. tea", 1),
        ("B.", None),
        ("b", None),
        ("C", 2),
        ("D", None),
        ("Z", None),
        ("The answer is B.", 1),
        ("So the answer is B.", None),
        ("The answer is B", None),
        ("The answer is B, since The answer is B.", None),
        ("The answer is F.", None),
        ("(B)", None),
        ("", None),
    ],
)
def test_letters_are_found_as_the_official_code_finds_them(answer: str, choice: int | None) -> None:
    assert parse_choice(answer, 3) == choice


def test_figures_equal_those_of_the_official_code() -> None:
    lines, totals = read_recorded("scienceqa")
    samples = [Sample(x["id"], "", Path("x") if x["image"] else None, x["truth"]) for x in lines]

    score = ScienceQA().score(samples, {x["id"]: x["answer"] for x in lines})

    assert len(lines) >= 200
    for line in lines:
        assert parse_choice(line["answer"], line["truth"]["choices"]) == line["read_as"]
    assert {"value": score.value, **score.parts} == totals["scores"]
    assert score.count == sum(line["image"] for line in lines)


def test_without_images_the_figure_is_zero(tmp_path: Path) -> None:
    _write(tmp_path)
    samples = ScienceQA().load(tmp_path)[1:]

    score = ScienceQA().score(samples, {"12": "B"})

    assert score.value == 0
    assert score.parts["all, %"] == 100
    assert score.notes == ("No sample has an image.",)
    assert ScienceQA().score([], {}).value == 0


@pytest.mark.parametrize(
    ("problems", "test", "message"),
    [
        ([], ["7"], "problems.json is not possible: it is no object"),
        ({"7": 5}, ["7"], "problems.json is not possible: there is no problem '7'"),
        (None, ["99"], "problems.json is not possible: there is no problem '99'"),
        (None, ["12", "12"], "pid_splits.json is not possible: '12' stands twice"),
        (None, [], "pid_splits.json is not possible: 'test' is no list of problems' names"),
        (None, [["7"]], "pid_splits.json is not possible: 'test' is no list of problems' names"),
        ({"12": _problem(answer=2)}, ["12"], "problem 12: 'answer' 2 is none of its 2 choices"),
        ({"12": _problem(choices=[])}, ["12"], "problem 12: 'answer' 1 is none of its 0 choices"),
        ({"12": _problem(hint=None)}, ["12"], "problem 12: 'hint' is no text"),
        ({"12": _problem(choices="ab")}, ["12"], "problem 12: 'choices' is no list of texts"),
        ({"12": _problem(image="a.png")}, ["12"], "a.png is not possible: there is no such image"),
    ],
)
def test_wrong_problem_is_named(tmp_path: Path, problems: Any, test: Any, message: str) -> None:
    _write(tmp_path, problems, test)

    with pytest.raises(RequestError) as error:
        ScienceQA().load(tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("conversations", "message"),
    [
        ([_conversation("7", "x")], "it has no question '12' of the test split"),
        ([_conversation("7", "x")] * 2, "[1]: id '7' stands also in [0]"),
        ([{"id": "7"}], "[0]: 'conversations' does not begin with a text"),
        ([{"conversations": []}], "[0]: there is no 'id'"),
        ({}, "the file is no list of objects"),
    ],
)
def test_wrong_file_of_llava_is_named(tmp_path: Path, conversations: Any, message: str) -> None:
    _write(tmp_path)
    write_json(tmp_path / LLAVA, conversations)

    with pytest.raises(RequestError) as error:
        ScienceQA().load(tmp_path)
    assert message in str(error.value)
    assert LLAVA in str(error.value)


@pytest.mark.parametrize("missing", ["problems.json", "pid_splits.json"])
def test_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    _write(tmp_path)
    (tmp_path / missing).unlink()

    with pytest.raises(RequestError, match=f"{missing} is not possible: no such file"):
        ScienceQA().load(tmp_path)
