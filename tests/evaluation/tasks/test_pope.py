from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.task import Sample
from llava_tools.evaluation.tasks.pope import Pope, says_yes
from tests.evaluation.recorded import read_recorded
from tests.evaluation.tasks.folders import SHORT, touch_images, write_lines

SPLITS = ("random", "popular", "adversarial")
LLAVA = "llava_pope_test.jsonl"


def _entries(split: str) -> list[dict[str, Any]]:
    return [
        {"question_id": 1, "image": "a.jpg", "text": "Is there a dog?", "label": "yes"},
        {"question_id": 2, "image": "b.jpg", "text": f"Is there a {split}?", "label": "no"},
    ]


def _llava_lines() -> list[dict[str, Any]]:
    return [
        {
            "question_id": 10_000_000 * number + entry["question_id"],
            "image": entry["image"],
            "text": f"{entry['text']}\n{SHORT}",
            "category": split,
        }
        for number, split in enumerate(("adversarial", "random", "popular"))
        for entry in _entries(split)
    ]


def _write(folder: Path) -> None:
    touch_images(folder / "val2014", "a.jpg", "b.jpg")
    for split in SPLITS:
        write_lines(folder / "coco" / f"coco_pope_{split}.json", _entries(split))


def test_official_files_are_read(tmp_path: Path) -> None:
    _write(tmp_path)

    samples = Pope().load(tmp_path)

    assert [sample.id for sample in samples] == [f"{split}/{n}" for split in SPLITS for n in (1, 2)]
    assert samples[3].question == f"Is there a popular?\n{SHORT}"
    assert samples[3].image == tmp_path / "val2014" / "b.jpg"
    assert samples[3].truth == {"split": "popular", "label": "no"}


def test_file_of_llava_has_the_same_samples_in_its_order(tmp_path: Path) -> None:
    _write(tmp_path)
    official = Pope().load(tmp_path)
    write_lines(tmp_path / LLAVA, _llava_lines())

    samples = Pope().load(tmp_path)

    assert [sample.truth["split"] for sample in samples[::2]] == [
        "adversarial",
        "random",
        "popular",
    ]
    assert sorted(samples, key=lambda s: s.id) == sorted(official, key=lambda s: s.id)


@pytest.mark.parametrize(
    ("answer", "yes"),
    [
        ("Yes", True),
        ("No", False),
        ("no, there is no dog.", False),
        ("There is not one.", False),
        ("Yes. There is no cat.", True),
        ("Nope", True),
        ("NO", True),
        ("No!", True),
        ("No\nYes", True),
        ("No,", False),
        (".no", True),
        ("", True),
    ],
)
def test_answers_are_read_by_their_first_sentence(answer: str, yes: bool) -> None:
    assert says_yes(answer) is yes


def test_figures_equal_those_of_the_official_code() -> None:
    lines, totals = read_recorded("pope")
    samples = [Sample(x["id"], "", None, x["truth"]) for x in lines]

    score = Pope().score(samples, {x["id"]: x["answer"] for x in lines})

    assert len(lines) >= 200
    assert [says_yes(x["answer"]) for x in lines] == [x["read_as"] == "yes" for x in lines]
    assert {"value": score.value, **score.parts} == totals["scores"]
    assert score.notes == ()


def test_measures_without_a_divisor_are_zero(tmp_path: Path) -> None:
    _write(tmp_path)
    samples = Pope().load(tmp_path)

    score = Pope().score(samples, dict.fromkeys((s.id for s in samples), "No"))

    assert score.value == 0
    assert score.parts["precision (random), %"] == 0
    assert score.parts["accuracy (random), %"] == 50
    assert Pope().score([], {}).value == 0


def test_splits_without_samples_are_named(tmp_path: Path) -> None:
    _write(tmp_path)
    samples = Pope().load(tmp_path)[:2]

    score = Pope().score(samples, {"random/1": "Yes", "random/2": "No"})

    assert score.value == 100
    assert score.notes == ("No samples of: popular, adversarial.",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "maybe"}, "line 2: the label 'maybe' is neither yes nor no"),
        ({"question_id": 1}, "line 2: question_id 1 stands also in line 1"),
        ({"image": "c.jpg"}, "c.jpg is not possible: there is no such image"),
        ({"text": None}, "line 2: 'text' is no text"),
    ],
)
def test_wrong_entry_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    _write(tmp_path)
    first, second = _entries("popular")
    write_lines(tmp_path / "coco" / "coco_pope_popular.json", [first, {**second, **change}])

    with pytest.raises(RequestError) as error:
        Pope().load(tmp_path)
    assert message in str(error.value)


def _with(number: int, **change: Any) -> list[dict[str, Any]]:
    lines = _llava_lines()
    lines[number] |= change
    return lines


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            _with(1, text=f"Is there an imange?\n{SHORT}"),
            "line 2: it is not the question of line 2",
        ),
        (_with(1, image="a.jpg"), "line 2: it is not the question of line 2"),
        (_with(1, category="other"), "line 2: the category 'other' is none of random"),
        ([*_llava_lines(), *_llava_lines()], "line 7: coco_pope_adversarial.json has fewer"),
        (_llava_lines()[:-1], "line 2: "),
    ],
)
def test_file_of_llava_of_another_release_is_an_error(
    tmp_path: Path, lines: list[dict[str, Any]], message: str
) -> None:
    _write(tmp_path)
    write_lines(tmp_path / LLAVA, lines)

    with pytest.raises(RequestError) as error:
        Pope().load(tmp_path)
    assert message in str(error.value)
    assert LLAVA in str(error.value)


def test_missing_split_is_named(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "coco" / "coco_pope_adversarial.json").unlink()

    with pytest.raises(RequestError, match=r"coco_pope_adversarial\.json is not possible"):
        Pope().load(tmp_path)
