from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.task import Sample
from llava_tools.evaluation.tasks.vizwiz import VizWiz
from tests.evaluation.recorded import read_recorded
from tests.evaluation.tasks.folders import (
    SHORT,
    answers_of,
    touch_images,
    write_json,
    write_lines,
)

HINT = "When the provided information is insufficient, respond with 'Unanswerable'."
IMAGES = ("VizWiz_test_00000000.jpg", "VizWiz_test_00000001.jpg")


def _write_test(folder: Path, where: str = "test.json") -> None:
    touch_images(folder / "test", *IMAGES)
    questions = [
        {"image": IMAGES[0], "question": "What is this? And what color is it? "},
        {"image": IMAGES[1], "question": "can I read the ISBN?"},
    ]
    write_json(folder / where, questions)


def _val_entry(image: str, kind: str, *answers: str) -> dict[str, Any]:
    return {
        "image": image,
        "question": "What is this?",
        "answers": [
            {"answer": a["answer"], "answer_confidence": "yes"} for a in answers_of(*answers)
        ],
        "answer_type": kind,
        "answerable": 1,
    }


def _write_val(folder: Path) -> None:
    touch_images(folder / "val", "VizWiz_val_00000000.jpg", "VizWiz_val_00000001.jpg")
    entries = [
        _val_entry("VizWiz_val_00000000.jpg", "unanswerable", *["unanswerable"] * 10),
        _val_entry("VizWiz_val_00000001.jpg", "other", *["can"] * 2, *["coke"] * 8),
    ]
    write_json(folder / "val.json", entries)


@pytest.mark.parametrize("where", ["test.json", "Annotations/test.json"])
def test_official_test_files_are_read_with_llavas_prompt(tmp_path: Path, where: str) -> None:
    _write_test(tmp_path, where)

    samples = VizWiz().load(tmp_path)

    assert [(sample.id, sample.question) for sample in samples] == [
        (IMAGES[0], f"What is this? and what color is it? \n{HINT}\n{SHORT}"),
        (IMAGES[1], f"Can i read the isbn?\n{HINT}\n{SHORT}"),
    ]
    assert [sample.image for sample in samples] == [tmp_path / "test" / name for name in IMAGES]


def test_file_of_llava_is_read_word_for_word(tmp_path: Path) -> None:
    _write_test(tmp_path)
    text = f"What is this?\n{HINT}\n{SHORT}"
    write_lines(
        tmp_path / "llava_test.jsonl",
        [{"question_id": 0, "image": IMAGES[1], "text": text, "category": "default"}],
    )

    (sample,) = VizWiz().load(tmp_path)

    assert (sample.id, sample.question) == (IMAGES[1], text)


def test_submission_has_images_and_normalized_answers(tmp_path: Path) -> None:
    _write_test(tmp_path)
    task = VizWiz()
    samples = task.load(tmp_path)
    answers = {IMAGES[0]: "Unanswerable", IMAGES[1]: "Half-and-half."}

    path = task.write_submission(samples, answers, tmp_path)

    assert path is not None
    assert json.loads(path.read_text()) == [
        {"image": IMAGES[0], "answer": "unanswerable"},
        {"image": IMAGES[1], "answer": "half and half"},
    ]
    assert task.score(samples, answers) is None


def test_answers_to_the_validation_split_are_scored(tmp_path: Path) -> None:
    _write_val(tmp_path)
    task = VizWiz()
    samples = task.load(tmp_path)
    answers = {"VizWiz_val_00000000.jpg": "Unanswerable", "VizWiz_val_00000001.jpg": "A can"}

    score = task.score(samples, answers)

    assert score is not None
    assert score.value == pytest.approx(80)
    assert score.parts == pytest.approx({"other, %": 60, "unanswerable, %": 100})
    assert "validation" in score.notes[0]
    assert task.write_submission(samples, answers, tmp_path) is None


def test_figures_equal_those_of_the_official_code() -> None:
    lines, totals = read_recorded("vizwiz")
    samples = [
        Sample(str(n), "", None, {"answers": line["truths"], "answer_type": line["type"]})
        for n, line in enumerate(lines)
    ]

    score = VizWiz().score(samples, {str(n): line["answer"] for n, line in enumerate(lines)})

    assert score is not None
    assert round(score.value, 2) == totals["overall"]
    assert {name: round(value, 2) for name, value in score.parts.items()} == {
        f"{kind}, %": value for kind, value in totals["by_type"].items()
    }


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"questions": []}, "the file is no list of objects"),
        ([{"image": IMAGES[0]}], r"\[0\]: there is no 'question', but 'image'"),
        ([{"image": "../x.jpg", "question": "What?"}], r"image '\.\./x\.jpg' is not in"),
        (
            [{"image": IMAGES[0], "question": "What?"}] * 2,
            rf"\[1\]: image '{IMAGES[0]}' stands also in \[0\]",
        ),
    ],
)
def test_wrong_test_file_is_named(tmp_path: Path, entries: Any, message: str) -> None:
    _write_test(tmp_path)
    write_json(tmp_path / "test.json", entries)

    with pytest.raises(RequestError, match=message):
        VizWiz().load(tmp_path)


def test_validation_entry_without_answers_is_named(tmp_path: Path) -> None:
    _write_val(tmp_path)
    entry = {"image": "VizWiz_val_00000000.jpg", "question": "What?", "answers": ["can"]}
    write_json(tmp_path / "val.json", [entry])

    with pytest.raises(RequestError, match=r"val\.json is not possible: \[0\]: 'answers' is no"):
        VizWiz().load(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"it must hold llava_test\.jsonl or test\.json or"):
        VizWiz().load(tmp_path)
