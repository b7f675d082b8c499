from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.task import Sample
from llava_tools.evaluation.tasks.seed_bench import SeedBench
from tests.evaluation.recorded import read_recorded
from tests.evaluation.tasks.folders import touch_images, write_json, write_lines

LETTER = "Answer with the option's letter from the given choices directly."
LLAVA = "llava-seed-bench.jsonl"
TYPES = {"Scene Understanding": 1, "Action Recognition": 10}
OPTIONS = "A. one\nB. two\nC. three\nD. four"


def _question(**change: Any) -> dict[str, Any]:
    texts = zip("abcd", ("one", "two", "three", "four"), strict=True)
    question = {
        "answer": "A",
        **{f"choice_{letter}": text for letter, text in texts},
        "data_id": "1454_25",
        "data_type": "image",
        "question": "How many towels?",
        "question_id": "101669",
        "question_type_id": 1,
    }
    return {**question, **change}


def _questions() -> list[dict[str, Any]]:
    video = {
        "data_type": "video",
        "data_id": "9.webm",
        "question_id": "v17",
        "question_type_id": 10,
    }
    return [_question(), _question(**video), _question(data_id="1454_26", answer="B")]


def _line(question_id: int | str, image: str, text: str = "How many?") -> dict[str, Any]:
    return {"question_id": question_id, "image": image, "text": text, "category": "Any"}


def _write(folder: Path, questions: Any = None, types: Any = None) -> None:
    touch_images(folder / "SEED-Bench-image", "1454_25", "1454_26")
    touch_images(folder / "SEED-Bench-video-image", "10_v17.png")
    value = {
        "questions": _questions() if questions is None else questions,
        "question_type": TYPES if types is None else types,
    }
    write_json(folder / "SEED-Bench.json", value)


def test_official_file_is_read(tmp_path: Path) -> None:
    _write(tmp_path)

    image, video, again = SeedBench().load(tmp_path)

    assert (image.id, video.id, again.id) == ("101669", "v17", "101669#2")
    assert image.question == f"How many towels?\n{OPTIONS}\n{LETTER}"
    assert image.image == tmp_path / "SEED-Bench-image" / "1454_25"
    assert image.truth == {
        "question_id": "101669",
        "answer": "A",
        "media": "image",
        "kind": "Scene Understanding",
    }
    assert video.image == tmp_path / "SEED-Bench-video-image" / "10_v17.png"
    assert again.image == tmp_path / "SEED-Bench-image" / "1454_26"


def test_file_of_llava_has_the_words_and_images(tmp_path: Path) -> None:
    _write(tmp_path)
    lines = [
        _line("v17", "SEED-Bench-video-image/10_v17.png", "Which?"),
        _line(101669, "SEED-Bench-image/1454_25"),
        _line(101669, "SEED-Bench-image/1454_26", "How many more?"),
    ]
    write_lines(tmp_path / LLAVA, lines)

    samples = {sample.id: sample for sample in SeedBench().load(tmp_path)}

    assert list(samples) == ["101669", "v17", "101669#2"]
    assert samples["v17"].question == "Which?"
    assert samples["101669"].question == "How many?"
    assert samples["101669#2"].question == "How many more?"
    assert samples["101669#2"].image == tmp_path / "SEED-Bench-image" / "1454_26"
    assert samples["101669#2"].truth["answer"] == "B"


def test_figures_equal_those_of_the_official_code() -> None:
    lines, totals = read_recorded("seed_bench")
    samples = [Sample(x["id"], "", None, x["truth"]) for x in lines]

    score = SeedBench().score(samples, {x["id"]: x["answer"] for x in lines})

    assert len(lines) >= 200
    assert sum(x["id"].endswith("#2") for x in lines) == 2
    assert {"value": score.value, **score.parts} == totals["scores"]


def test_only_the_letter_itself_is_right(tmp_path: Path) -> None:
    _write(tmp_path)
    samples = SeedBench().load(tmp_path)[:2]

    score = SeedBench().score(samples, {"101669": "A", "v17": "A."})

    assert score.value == 50
    assert score.parts == {
        "image, %": 100,
        "Scene Understanding, %": 100,
        "video, %": 0,
        "Action Recognition, %": 0,
    }
    assert SeedBench().score([], {}).value == 0


def test_submission_has_a_line_for_each_question(tmp_path: Path) -> None:
    _write(tmp_path)
    samples = SeedBench().load(tmp_path)

    path = SeedBench().write_submission(
        samples, {"101669": "A", "v17": "é", "101669#2": "B"}, tmp_path
    )

    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"question_id": "101669", "prediction": "B"},
        {"question_id": "v17", "prediction": "é"},
        {"question_id": "101669", "prediction": "B"},
    ]


@pytest.mark.parametrize(
    ("questions", "types", "message"),
    [
        ([], None, "'questions' is no list of objects"),
        ([_question(question_type_id=3)], None, "[0]: 'question_type' has no type 3"),
        ([_question(data_type="audio")], None, "'data_type' 'audio' is neither image nor video"),
        ([_question(answer=0)], None, "questions[0]: 'answer' is no text"),
        ([_question(choice_c=None)], None, "questions[0]: 'choice_c' is no text"),
        ([_question(data_id="7")], None, "7 is not possible: there is no such image"),
        (None, [], "'question_type' is no object of names and numbers"),
        (None, {"Scene": [1]}, "'question_type' is no object of names and numbers"),
    ],
)
def test_wrong_question_is_named(tmp_path: Path, questions: Any, types: Any, message: str) -> None:
    _write(tmp_path, questions, types)

    with pytest.raises(RequestError) as error:
        SeedBench().load(tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [_line(101669, "SEED-Bench-image/1454_25")],
            "it has no question 'v17' of SEED-Bench.json",
        ),
        ([{"question_id": None}], "line 1: 'question_id' is neither a number nor a name"),
    ],
)
def test_wrong_file_of_llava_is_named(
    tmp_path: Path, lines: list[dict[str, Any]], message: str
) -> None:
    _write(tmp_path)
    write_lines(tmp_path / LLAVA, lines)

    with pytest.raises(RequestError) as error:
        SeedBench().load(tmp_path)
    assert message in str(error.value)
    assert LLAVA in str(error.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"SEED-Bench\.json is not possible: no such file"):
        SeedBench().load(tmp_path)
