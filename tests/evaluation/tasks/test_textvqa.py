from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.task import Sample
from llava_tools.evaluation.tasks.textvqa import TextVQA
from tests.evaluation.recorded import read_recorded
from tests.evaluation.tasks.folders import SHORT, touch_images, write_json, write_lines

ANNOTATIONS = "TextVQA_0.5.1_val.json"
OCR = "TextVQA_Rosetta_OCR_v0.2_val.json"
LLAVA = "llava_textvqa_val_v051_ocr.jsonl"
BRAND = "what brand is the DAKOTA camera?"
BRAND_PROMPT = "What brand is the dakota camera?\nReference OCR token: DAKOTA, Single-Use\n" + SHORT
YEAR_PROMPT = f"What year?\nReference OCR token: \n{SHORT}"


def _question(number: int, image: str, text: str, *answers: str) -> dict[str, Any]:
    return {"question_id": number, "image_id": image, "question": text, "answers": answers}


def _line(image: str, text: str) -> dict[str, Any]:
    return {"question_id": image, "image": f"{image}.jpg", "text": text, "category": "default"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two questions, the answers and the images."""
    touch_images(tmp_path / "train_images", "003a.jpg", "97b1.jpg")
    questions = [
        _question(34602, "003a", BRAND, *["dakota"] * 9, "digital"),
        _question(34603, "97b1", "what year?", *["2012"] * 2, *["2013"] * 8),
    ]
    write_json(tmp_path / ANNOTATIONS, {"dataset_version": "0.5.1", "data": questions})
    return tmp_path


def _write_words(folder: Path, *images: str) -> None:
    words = {"003a": ["DAKOTA", "Single-Use"], "97b1": []}
    data = [{"image_id": image, "ocr_tokens": words[image], "ocr_info": []} for image in images]
    write_json(folder / OCR, {"data": data})


def test_words_of_rosetta_are_in_the_prompt(folder: Path) -> None:
    _write_words(folder, "97b1", "003a")

    samples = TextVQA().load(folder)

    assert [(s.id, s.question) for s in samples] == [
        ("34602", BRAND_PROMPT),
        ("34603", YEAR_PROMPT),
    ]
    assert samples[0].image == folder / "train_images" / "003a.jpg"


def test_prompts_of_llava_are_read_word_for_word(folder: Path) -> None:
    # Other words and another order than Rosetta's file.
    prompt = f"What brand is the dakota camera?\nReference OCR token: x\n{SHORT}"
    write_lines(folder / LLAVA, [_line("97b1", YEAR_PROMPT), _line("003a", prompt)])
    _write_words(folder, "97b1", "003a")

    samples = TextVQA().load(folder)

    assert [(s.id, s.question) for s in samples] == [("34603", YEAR_PROMPT), ("34602", prompt)]
    assert samples[1].truth["answers"] == ("dakota",) * 9 + ("digital",)


def test_question_that_occurs_twice_for_an_image_has_two_samples(folder: Path) -> None:
    questions = [
        _question(1, "97b1", "what year?", *["2012"] * 10),
        _question(2, "97b1", "What year?", *["2013"] * 10),
    ]
    write_json(folder / ANNOTATIONS, {"data": questions})
    write_lines(folder / LLAVA, [_line("97b1", YEAR_PROMPT)] * 2)

    samples = TextVQA().load(folder)

    assert [(s.id, s.truth["answers"][0]) for s in samples] == [("1", "2012"), ("2", "2013")]


def test_answers_are_scored(folder: Path) -> None:
    _write_words(folder, "97b1", "003a")
    task = TextVQA()
    samples = task.load(folder)

    score = task.score(samples, {"34602": "Dakota.", "34603": "2012"})

    assert score is not None
    assert score.value == pytest.approx(80)
    assert score.count == 2
    assert task.score([], {}) is None


def test_figure_equals_that_of_the_official_code() -> None:
    lines, totals = read_recorded("textvqa")
    samples = [Sample(str(n), "", None, {"answers": x["truths"]}) for n, x in enumerate(lines)]

    score = TextVQA().score(samples, {str(n): x["answer"] for n, x in enumerate(lines)})

    assert score is not None
    assert score.value == pytest.approx(totals["overall"], abs=1e-10)


def test_missing_files_are_named(folder: Path) -> None:
    with pytest.raises(RequestError, match=f"it must hold {LLAVA} or {OCR}"):
        TextVQA().load(folder)

    (folder / ANNOTATIONS).unlink()
    with pytest.raises(RequestError, match=f"{ANNOTATIONS} is not possible: no such file"):
        TextVQA().load(folder)


def test_image_without_words_is_named(folder: Path) -> None:
    _write_words(folder, "003a")

    with pytest.raises(RequestError, match=rf"data\[1\]: {OCR} has no words of '97b1'"):
        TextVQA().load(folder)


@pytest.mark.parametrize(
    "lines",
    [
        [_line("003a", BRAND_PROMPT), _line("003a", YEAR_PROMPT)],
        [_line("003a", BRAND_PROMPT), _line("003a", BRAND_PROMPT)],
    ],
)
def test_line_without_a_question_is_named(folder: Path, lines: list[dict[str, Any]]) -> None:
    write_lines(folder / LLAVA, lines)

    with pytest.raises(RequestError, match=f"{LLAVA} is not possible: line 2: {ANNOTATIONS} has"):
        TextVQA().load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": ["x"] * 9}, r"data\[0\]: there are 9 answers, not 10"),
        ({"answers": [{"answer": "x"}] * 10}, r"data\[0\]: 'answers' is no list of texts"),
        ({"question_id": 34603}, r"data\[1\]: question_id 34603 stands also in data\[0\]"),
        ({"image_id": 3}, r"data\[0\]: 'image_id' is no text"),
    ],
)
def test_wrong_annotation_is_named(folder: Path, change: dict[str, Any], message: str) -> None:
    _write_words(folder, "97b1", "003a")
    first = {**_question(34602, "003a", BRAND, *["x"] * 10), **change}
    second = _question(34603, "97b1", "what year?", *["x"] * 10)
    write_json(folder / ANNOTATIONS, {"data": [first, second]})

    with pytest.raises(RequestError, match=f"{ANNOTATIONS} is not possible: {message}"):
        TextVQA().load(folder)
