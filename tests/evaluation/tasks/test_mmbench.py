from __future__ import annotations

import base64
import csv
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.rules.circular_choice import infer_choice
from llava_tools.evaluation.task import Sample
from llava_tools.evaluation.tasks.mmbench import MMBench
from llava_tools.evaluation.tasks.mmbench_cn import MMBenchCN
from tests.evaluation.recorded import read_recorded

COLUMNS = (
    *("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image"),
    *("source", "l2-category", "comment", "split"),
)
LETTER = "Answer with the option's letter from the given choices directly."
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def _row(index: int, answer: str, **change: str) -> dict[str, Any]:
    row = {
        "index": index,
        "question": "Which colour?",
        "A": "red",
        "B": "blue",
        "answer": answer,
        "category": "attribute",
        "image": base64.b64encode(b"image").decode(),
        "source": "drawn",
        "l2-category": "coarse",
        "split": "dev",
    }
    return {**row, **change}


def _rows() -> list[dict[str, Any]]:
    """Two questions, each with its two circular rows."""
    other = {"category": "ocr", "image": base64.b64encode(b"other").decode()}
    return [
        _row(241, "A", hint='Look:\n\t"well".'),
        _row(252, "B", **other),
        _row(1_000_241, "B", A="blue", B="red", hint='Look:\n\t"well".'),
        _row(1_000_252, "A", A="blue", B="red", **other),
    ]


def _write(folder: Path, rows: Any = None, task: MMBench | None = None) -> None:
    path = folder / (task or MMBench()).table
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_rows() if rows is None else rows)


@pytest.mark.parametrize(
    ("task", "request_text"), [(MMBench(), LETTER), (MMBenchCN(), "请直接回答选项字母。")]
)
def test_official_table_is_read(tmp_path: Path, task: MMBench, request_text: str) -> None:
    _write(tmp_path, task=task)

    samples = task.load(tmp_path)

    assert [sample.id for sample in samples] == ["241", "252", "1000241", "1000252"]
    assert samples[0].question == (
        f'Look:\n\t"well".\nWhich colour?\nA. red\nB. blue\n{request_text}'
    )
    assert samples[3].question == f"Which colour?\nA. blue\nB. red\n{request_text}"
    assert samples[0].truth["choices"] == {"A": "red", "B": "blue"}
    assert samples[0].max_tokens == 1024


def test_images_are_read_when_they_are_needed(tmp_path: Path) -> None:
    _write(tmp_path)

    samples = MMBench().load(tmp_path)

    assert [sample.read_image() for sample in samples] == [b"image", b"other"] * 2
    assert samples[0].image == samples[2].image != samples[1].image


@pytest.mark.parametrize("nothing", ["", "nan", "NaN", "None", "none", "N/A", "null"])
def test_missing_hints_and_choices_are_left_out(tmp_path: Path, nothing: str) -> None:
    _write(tmp_path, [_row(1, "A", hint=nothing, C=nothing, D=nothing)])

    (sample,) = MMBench().load(tmp_path)

    assert sample.question == f"Which colour?\nA. red\nB. blue\n{LETTER}"


@pytest.mark.parametrize(("name", "task"), [("mmbench", MMBench()), ("mmbench_cn", MMBenchCN())])
def test_figures_equal_those_of_the_official_code(name: str, task: MMBench) -> None:
    lines, totals = read_recorded(name)
    samples = [Sample(x["id"], "", None, x["truth"]) for x in lines]

    score = task.score(samples, {x["id"]: x["answer"] for x in lines})

    assert len(lines) >= 200
    for line in lines:
        assert infer_choice(line["answer"], line["truth"]["choices"]) == line["read_as"]
    assert score is not None
    assert {"value": score.value, **score.parts} == totals["scores"]


def test_question_is_right_if_all_of_its_rows_are(tmp_path: Path) -> None:
    _write(tmp_path)
    samples = MMBench().load(tmp_path)

    answers = {"241": "A", "252": "B", "1000241": "It is red.", "1000252": "B"}
    score = MMBench().score(samples, answers)

    assert score is not None
    assert (score.value, score.count) == (50, 4)
    assert score.parts == {"coarse, %": 50, "attribute, %": 100, "ocr, %": 0}


def test_rows_without_their_question_do_not_count(tmp_path: Path) -> None:
    _write(tmp_path)
    samples = MMBench().load(tmp_path)[2:]

    score = MMBench().score(samples, dict.fromkeys(("1000241", "1000252"), "B"))

    assert score is not None
    assert score.value == 0
    assert MMBench().score([], {}) is not None


def test_table_without_answers_has_no_score(tmp_path: Path) -> None:
    _write(tmp_path, [_row(1, "")])
    samples = MMBench().load(tmp_path)

    assert MMBench().score(samples, {"1": "A"}) is None


def test_submission_is_the_table_that_the_server_takes(tmp_path: Path) -> None:
    _write(tmp_path)
    samples = MMBench().load(tmp_path)

    path = MMBench().write_submission(
        samples, dict.fromkeys((s.id for s in samples), "B"), tmp_path
    )

    with zipfile.ZipFile(path) as archive:
        sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    rows = [["".join(cell.itertext()) for cell in row] for row in sheet.iter(f"{SHEET}row")]
    assert path.name == "mmbench.xlsx"
    assert rows[0] == ["index", "question", "A", "B", "C", "D", "prediction", "answer", "split"]
    assert rows[3] == ["1000241", "Which colour?", "blue", "red", "", "", "B", "B", "dev"]
    assert len(rows) == 5
    assert [cell.get("t") for cell in sheet[0][3]][:2] == [None, "inlineStr"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "it has no rows"),
        ([_row(1, "A"), _row(1, "A")], "row 3: the index 1 stands also in row 2"),
        ([{**_row(1, "A"), "index": "x"}], "row 2: the index 'x' is no number"),
        ([{**_row(1, "A"), "index": "9" * 5000}], "row 2: the index '999"),
        ([_row(1, "C")], "row 2: the answer 'C' is none of its choices, A, B"),
        ([_row(1, "A", image="?")], "row 2: 'image' is no base64"),
    ],
)
def test_wrong_row_is_named(tmp_path: Path, rows: Any, message: str) -> None:
    _write(tmp_path, rows)

    with pytest.raises(RequestError) as error:
        MMBench().load(tmp_path)
    assert message in str(error.value)
    assert MMBench.table in str(error.value)


def test_foreign_table_is_named(tmp_path: Path) -> None:
    (tmp_path / MMBench.table).write_text("index\timage\n1\tAAAA\n")

    with pytest.raises(RequestError, match="row 2: there is no 'A', but 'index'"):
        MMBench().load(tmp_path)


def test_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match=r"mmbench_dev_cn_20231003\.tsv is not possible: no such"
    ):
        MMBenchCN().load(tmp_path)
