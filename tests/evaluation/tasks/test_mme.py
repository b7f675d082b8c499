from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.task import Sample
from llava_tools.evaluation.tasks.mme import COGNITION, PERCEPTION, Mme, parse_yes_no
from tests.evaluation.recorded import read_recorded
from tests.evaluation.tasks.folders import SHORT, touch_images, write_lines

RELEASE = "MME_Benchmark_release_version"
LLAVA = "llava_mme.jsonl"
CATEGORIES = (*PERCEPTION, *COGNITION)
APART = ("posters", "celebrity", "scene", "landmark", "artwork")
TEXT = "Is it red? Please answer yes or no.\tYes\nIs it blue?  Please answer yes or no.\tNo\n"


def _write(folder: Path, within: str = "") -> None:
    for category in CATEGORIES:
        images = texts = folder / RELEASE / within / category
        if category in APART:
            images, texts = images / "images", texts / "questions_answers_YN"
        touch_images(images, "0001.jpg", "0002.png")
        touch_images(texts, "0001.txt", "0002.txt")
        for name in ("0001.txt", "0002.txt"):
            (texts / name).write_text(TEXT)


def _line(question_id: str, text: str = "Is it red?") -> dict[str, Any]:
    category = question_id.split("/")[0]
    text = f"{text}\n{SHORT}"
    return {"question_id": question_id, "image": question_id, "text": text, "category": category}


@pytest.mark.parametrize("within", ["", "MME_Benchmark"])
def test_both_layouts_of_a_category_are_read(tmp_path: Path, within: str) -> None:
    _write(tmp_path, within)

    samples = {sample.id: sample for sample in Mme().load(tmp_path)}

    assert len(samples) == 14 * 4
    beside, apart = samples["count/0002/2"], samples["artwork/0001/1"]
    assert beside.question == f"Is it blue?\n{SHORT}"
    assert beside.image == tmp_path / RELEASE / within / "count" / "0002.png"
    assert beside.truth["label"] == "no"
    assert apart.question == f"Is it red?\n{SHORT}"
    assert apart.image == tmp_path / RELEASE / within / "artwork" / "images" / "0001.jpg"
    assert apart.truth["label"] == "yes"


def test_file_of_llava_chooses_and_orders_the_same_samples(tmp_path: Path) -> None:
    _write(tmp_path)
    official = {sample.id: sample for sample in Mme().load(tmp_path)}
    lines = [
        _line("count/0002.png", "Is it blue?"),
        _line("artwork/images/0001.jpg"),
        _line("posters/0001.jpg"),
    ]
    write_lines(tmp_path / LLAVA, lines)

    samples = Mme().load(tmp_path)

    assert samples == [official[n] for n in ("count/0002/2", "artwork/0001/1", "posters/0001/1")]


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        ("Yes", "yes"),
        ("No.", "no"),
        ("not sure", "no"),
        ("I know", None),
        ("eyes", "yes"),
        ("noyes", "no"),
        ("A no", "no"),
        ("It is no", None),
        ("", None),
    ],
)
def test_answers_are_read_by_four_characters(answer: str, meaning: str | None) -> None:
    assert parse_yes_no(answer) == meaning


def test_figures_equal_those_of_the_official_code() -> None:
    lines, totals = read_recorded("mme")
    samples = [Sample(x["id"], "", None, x["truth"]) for x in lines]

    score = Mme().score(samples, {x["id"]: x["answer"] for x in lines})

    assert len(lines) >= 200
    assert [parse_yes_no(x["answer"]) or "other" for x in lines] == [x["read_as"] for x in lines]
    assert {"value": score.value, **score.parts} == totals["scores"]
    assert score.notes == ()


def test_both_questions_of_an_image_count_for_accuracy_plus(tmp_path: Path) -> None:
    _write(tmp_path)
    samples = [s for s in Mme().load(tmp_path) if s.truth["category"] in ("count", "OCR")]
    right = {s.id: s.truth["label"] for s in samples}

    score = Mme().score(samples, {**right, "count/0001/2": "yes"})

    assert score.parts["count (of 200)"] == 75 + 50
    assert score.parts["OCR (of 200)"] == 200
    assert score.value == score.parts["perception (of 2000)"] == 325
    assert score.parts["cognition (of 800)"] == 0
    assert score.notes[0].startswith("No samples of: existence, position, ")
    assert Mme().score([], {}).value == 0


def test_submission_has_the_lines_that_the_official_tool_reads(tmp_path: Path) -> None:
    _write(tmp_path)
    samples = Mme().load(tmp_path)

    path = Mme().write_submission(
        samples, dict.fromkeys((s.id for s in samples), "Yes,\tor\nno"), tmp_path
    )

    assert sorted(file.stem for file in path.iterdir()) == sorted(CATEGORIES)
    assert (path / "count.txt").read_text().splitlines()[:2] == [
        "0001.jpg\tIs it red? Please answer yes or no.\tYes\tYes, or no",
        "0001.jpg\tIs it blue?  Please answer yes or no.\tNo\tYes, or no",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Is it red?\tYes\n", "count/0001.txt is not possible: it has 1 questions, not 2"),
        ("Is it red? Yes\nIs it blue?\tNo\n", "line 1 is no question, tab, and Yes or No"),
        ("Is it red?\tYes\nIs it blue?\tMaybe\n", "line 2 is no question, tab, and Yes or No"),
    ],
)
def test_wrong_question_text_is_named(tmp_path: Path, text: str, message: str) -> None:
    _write(tmp_path)
    (tmp_path / RELEASE / "count" / "0001.txt").write_text(text)

    with pytest.raises(RequestError) as error:
        Mme().load(tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("count/0001.jpg", "count/0001.txt is not possible: "),
        ("artwork/images/0001.jpg", "artwork/questions_answers_YN/0001.txt is not possible: "),
    ],
)
def test_missing_image_is_named(tmp_path: Path, missing: str, message: str) -> None:
    _write(tmp_path)
    (tmp_path / RELEASE / missing).unlink()

    with pytest.raises(RequestError) as error:
        Mme().load(tmp_path)
    assert message in str(error.value)
    assert "has no image of that name" in str(error.value)


def test_missing_category_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="existence is not possible: there are no question"):
        Mme().load(tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([_line("count/0003.jpg")], "line 1: MME_Benchmark_release_version has no such question"),
        ([_line("count/0001.jpg", "Is it?")], "has no such question about count/0001"),
        ([_line("count/0001.jpg")] * 2, "line 2: the question stands also in an earlier line"),
    ],
)
def test_wrong_line_of_llavas_file_is_named(
    tmp_path: Path, lines: list[dict[str, Any]], message: str
) -> None:
    _write(tmp_path)
    write_lines(tmp_path / LLAVA, lines)

    with pytest.raises(RequestError) as error:
        Mme().load(tmp_path)
    assert message in str(error.value)
