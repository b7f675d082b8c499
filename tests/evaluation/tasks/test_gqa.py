from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.task import Sample
from llava_tools.evaluation.tasks.gqa import Gqa
from tests.evaluation.recorded import read_recorded
from tests.evaluation.tasks.folders import SHORT, touch_images, write_json, write_lines

QUESTIONS = "testdev_balanced_questions.json"
LLAVA = "llava_gqa_testdev_balanced.jsonl"


def _question(answer: str, structural: str, semantic: str, *, balanced: bool = True) -> Any:
    return {
        "imageId": "n161313",
        "question": "Is it overcast?",
        "answer": answer,
        "isBalanced": balanced,
        "types": {"structural": structural, "semantic": semantic, "detailed": "weather"},
    }


def _line(name: str) -> dict[str, Any]:
    text = f"Is it overcast?\n{SHORT}"
    return {"question_id": name, "image": "n161313.jpg", "text": text, "category": "default"}


def _write(folder: Path, questions: Any = None, within: str = "data/") -> None:
    touch_images(folder / f"{within}images", "n161313.jpg")
    if questions is None:
        questions = {
            "201": _question("no", "verify", "global"),
            "202": _question("red", "query", "attr"),
            "203": _question("left", "choose", "rel"),
            "204": _question("left", "choose", "rel", balanced=False),
        }
    write_json(folder / f"{within}{QUESTIONS}", questions)


@pytest.mark.parametrize("within", ["", "data/"])
def test_official_files_are_read(tmp_path: Path, within: str) -> None:
    _write(tmp_path, within=within)

    samples = Gqa().load(tmp_path)

    assert [sample.id for sample in samples] == ["201", "202", "203"]
    assert samples[0].question == f"Is it overcast?\n{SHORT}"
    assert samples[0].image == tmp_path / f"{within}images" / "n161313.jpg"
    assert samples[0].truth == {"answer": "no", "structural": "verify", "semantic": "global"}


def test_file_of_llava_is_read_with_the_official_answers(tmp_path: Path) -> None:
    _write(tmp_path)
    write_lines(tmp_path / LLAVA, [_line("203"), _line("201")])

    samples = Gqa().load(tmp_path)

    assert [(sample.id, sample.truth["answer"]) for sample in samples] == [
        ("203", "left"),
        ("201", "no"),
    ]
    assert samples[0].question == f"Is it overcast?\n{SHORT}"


def test_file_of_llava_alone_has_no_score(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "data" / QUESTIONS).unlink()
    write_lines(tmp_path / LLAVA, [_line("203")])
    task = Gqa()
    samples = task.load(tmp_path)

    assert task.score(samples, {"203": "left"}) is None
    path = task.write_submission(samples, {"203": "Left."}, tmp_path)
    assert path is not None
    assert json.loads(path.read_text()) == [{"questionId": "203", "prediction": "left"}]


def test_answers_are_scored_by_exact_match_and_by_type(tmp_path: Path) -> None:
    _write(tmp_path)
    task = Gqa()

    score = task.score(task.load(tmp_path), {"201": "No.", "202": "Reddish", "203": "left side"})

    assert score is not None
    assert score.value == pytest.approx(100 / 3)
    assert score.count == 3
    assert score.parts == {
        "binary, %": 50,
        "open, %": 0,
        "semantic type attr, %": 0,
        "semantic type global, %": 100,
        "semantic type rel, %": 0,
        "structural type choose, %": 0,
        "structural type query, %": 0,
        "structural type verify, %": 100,
    }
    assert task.score([], {}) is None


def test_figures_equal_those_of_the_official_code() -> None:
    lines, totals = read_recorded("gqa")
    samples = [
        Sample(
            str(n),
            "",
            None,
            {"answer": x["truth"], **{k: x[k] for k in ("structural", "semantic")}},
        )
        for n, x in enumerate(lines)
    ]

    score = Gqa().score(samples, {str(n): x["answer"] for n, x in enumerate(lines)})

    assert len(lines) >= 200
    assert score is not None
    assert score.value == totals["accuracy"]
    assert score.parts == totals["parts"]


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="it must hold images or data/images"):
        Gqa().load(tmp_path)

    touch_images(tmp_path / "images")
    with pytest.raises(RequestError, match=f"it must hold data/{QUESTIONS} or {LLAVA}"):
        Gqa().load(tmp_path)


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([], "it is no object with a question under each name"),
        ({"1": "x"}, "question '1': it is no object"),
        ({"1": {"imageId": "n161313"}}, "question '1': there is no 'question', but 'imageId'"),
        (
            {"1": {"imageId": "n161313", "question": "What?", "types": []}},
            "question '1': there is no 'types'",
        ),
        (
            {"1": {"imageId": "n161313", "question": "What?", "types": {}, "answer": "x"}},
            "question '1': there is no 'structural'",
        ),
        ({"1": {**_question("x", "query", "rel"), "imageId": "n2"}}, "n2.jpg is not possible"),
    ],
)
def test_wrong_question_is_named(tmp_path: Path, questions: Any, message: str) -> None:
    _write(tmp_path, questions)

    with pytest.raises(RequestError) as error:
        Gqa().load(tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([_line("201"), _line("201")], "line 2: question_id '201' stands also in line 1"),
        ([_line("201"), _line("999")], f"line 2: {QUESTIONS} has no question '999'"),
        ([{**_line("201"), "image": 5}], "line 1: 'image' is no text"),
    ],
)
def test_wrong_line_of_llavas_file_is_named(
    tmp_path: Path, lines: list[dict[str, Any]], message: str
) -> None:
    _write(tmp_path)
    write_lines(tmp_path / LLAVA, lines)

    with pytest.raises(RequestError) as error:
        Gqa().load(tmp_path)
    assert message in str(error.value)
