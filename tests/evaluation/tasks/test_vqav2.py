from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.task import Sample
from llava_tools.evaluation.tasks.vqav2 import Vqav2
from tests.evaluation.recorded import read_recorded
from tests.evaluation.tasks.folders import (
    SHORT,
    answers_of,
    touch_images,
    write_json,
    write_lines,
)

TEST_DEV = "v2_OpenEnded_mscoco_test-dev2015_questions.json"
TEST = "v2_OpenEnded_mscoco_test2015_questions.json"
VAL = "v2_OpenEnded_mscoco_val2014_questions.json"
ANNOTATIONS = "v2_mscoco_val2014_annotations.json"
LLAVA_TEST_DEV = "llava_vqav2_mscoco_test-dev2015.jsonl"
LLAVA_TEST = "llava_vqav2_mscoco_test2015.jsonl"
IMAGES = ("COCO_test2015_000000000042.jpg", "COCO_test2015_000000262144.jpg")


def _question(number: int, image: int = 42, text: str = "What is this?") -> dict[str, Any]:
    return {"image_id": image, "question": text, "question_id": number}


def _line(number: int, image: str = IMAGES[0]) -> dict[str, Any]:
    text = f"What is this?\n{SHORT}"
    return {"question_id": number, "image": image, "text": text, "category": "default"}


def _write_official_test(folder: Path) -> None:
    touch_images(folder / "test2015", *IMAGES)
    write_json(folder / TEST_DEV, {"questions": [_question(2), _question(4, 262144, "Who?")]})
    everything = [_question(1), _question(2), _question(4, 262144), _question(5)]
    write_json(folder / TEST, {"questions": everything})


def _write_val(folder: Path) -> None:
    touch_images(folder / "val2014", "COCO_val2014_000000000042.jpg")
    write_json(folder / VAL, {"questions": [_question(420), _question(421)]})
    annotations = [
        {"question_id": 421, "answer_type": "yes/no", "answers": answers_of(*["yes"] * 10)},
        {
            "question_id": 420,
            "answer_type": "other",
            "answers": answers_of(*["cat"] * 3, *["dog"] * 7),
        },
    ]
    write_json(folder / ANNOTATIONS, {"annotations": annotations})


def test_official_test_dev_files_are_read(tmp_path: Path) -> None:
    _write_official_test(tmp_path)

    samples = Vqav2().load(tmp_path)

    assert [(sample.id, sample.question) for sample in samples] == [
        ("2", f"What is this?\n{SHORT}"),
        ("4", f"Who?\n{SHORT}"),
    ]
    assert [sample.image for sample in samples] == [tmp_path / "test2015" / name for name in IMAGES]
    assert samples[0].max_tokens == 128


def test_files_of_llava_are_read_word_for_word(tmp_path: Path) -> None:
    touch_images(tmp_path / "test2015", *IMAGES)
    write_lines(tmp_path / LLAVA_TEST_DEV, [_line(2, IMAGES[1])])
    write_lines(tmp_path / LLAVA_TEST, [_line(2), _line(3)])

    (sample,) = Vqav2().load(tmp_path)

    assert (sample.id, sample.question) == ("2", f"What is this?\n{SHORT}")
    assert sample.image == tmp_path / "test2015" / IMAGES[1]


def test_submission_answers_every_question_of_test2015(tmp_path: Path) -> None:
    _write_official_test(tmp_path)
    task = Vqav2()
    samples = task.load(tmp_path)

    path = task.write_submission(samples, {"2": "The two Cats.", "4": "Don't"}, tmp_path)

    assert path is not None
    assert json.loads(path.read_text()) == [
        {"question_id": 1, "answer": ""},
        {"question_id": 2, "answer": "2 cats"},
        {"question_id": 4, "answer": "don't"},
        {"question_id": 5, "answer": ""},
    ]
    assert task.score(samples, {"2": "x", "4": "y"}) is None


def test_answers_to_val2014_are_scored(tmp_path: Path) -> None:
    _write_val(tmp_path)
    task = Vqav2()
    samples = task.load(tmp_path)

    score = task.score(samples, {"420": "A cat.", "421": "Yes"})

    assert samples[0].image == tmp_path / "val2014" / "COCO_val2014_000000000042.jpg"
    assert score is not None
    assert (score.value, score.count) == (95, 2)
    assert score.parts == {"other, %": 90, "yes/no, %": 100}
    assert "val2014" in score.notes[0]
    assert task.write_submission(samples, {"420": "", "421": ""}, tmp_path) is None


def test_test_dev_goes_before_val(tmp_path: Path) -> None:
    _write_official_test(tmp_path)
    _write_val(tmp_path)

    assert [sample.id for sample in Vqav2().load(tmp_path)] == ["2", "4"]


def test_figures_equal_those_of_the_official_code() -> None:
    lines, totals = read_recorded("vqav2")
    samples = [
        Sample(str(n), "", None, {"answers": line["truths"], "answer_type": line["type"]})
        for n, line in enumerate(lines)
    ]

    score = Vqav2().score(samples, {str(n): line["answer"] for n, line in enumerate(lines)})

    assert score is not None
    assert round(score.value, 2) == totals["overall"]
    assert {name: round(value, 2) for name, value in score.parts.items()} == {
        f"{kind}, %": value for kind, value in totals["by_type"].items()
    }


def test_no_samples_have_no_score_and_no_submission(tmp_path: Path) -> None:
    assert Vqav2().score([], {}) is None
    assert Vqav2().write_submission([], {}, tmp_path) is None


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"it must hold {LLAVA_TEST_DEV} or {TEST_DEV} with"):
        Vqav2().load(tmp_path)

    _write_official_test(tmp_path)
    (tmp_path / TEST).unlink()
    with pytest.raises(RequestError, match=f"each question of {LLAVA_TEST} or {TEST}"):
        Vqav2().load(tmp_path)


def test_missing_image_is_named(tmp_path: Path) -> None:
    _write_official_test(tmp_path)
    (tmp_path / "test2015" / IMAGES[1]).unlink()

    with pytest.raises(RequestError, match=f"{IMAGES[1]} is not possible: there is no such image"):
        Vqav2().load(tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([_line(2), _line(2)], "line 2: question_id 2 stands also in line 1"),
        ([_line(2), {"question_id": 3}], "line 2: there is no 'image', but 'question_id'"),
        ([_line(2), _line(9)], f"line 2: {LLAVA_TEST} has no question 9"),
        ([{**_line(2), "question_id": "n2"}], f"line 1: {LLAVA_TEST} has no question 'n2'"),
    ],
)
def test_wrong_line_of_llavas_file_is_named(
    tmp_path: Path, lines: list[dict[str, Any]], message: str
) -> None:
    touch_images(tmp_path / "test2015", *IMAGES)
    write_lines(tmp_path / LLAVA_TEST_DEV, lines)
    write_lines(tmp_path / LLAVA_TEST, [_line(2), _line(3)])

    with pytest.raises(RequestError, match=f"{LLAVA_TEST_DEV} is not possible: {message}"):
        Vqav2().load(tmp_path)


def test_question_without_answers_is_named(tmp_path: Path) -> None:
    _write_val(tmp_path)
    write_json(tmp_path / VAL, {"questions": [_question(420), _question(422)]})

    with pytest.raises(RequestError, match=rf"questions\[1\]: {ANNOTATIONS} has no answers to 422"):
        Vqav2().load(tmp_path)


def test_file_of_another_benchmark_is_refused(tmp_path: Path) -> None:
    _write_val(tmp_path)
    write_json(tmp_path / VAL, [_question(420)])

    with pytest.raises(RequestError, match="'questions' is no list of objects"):
        Vqav2().load(tmp_path)
