"""PDFs that exceed the limits: an index names them, reads the rest, and tries them once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from llava_tools.retrieval import PageIndex, changes, pdf_process
from llava_tools.retrieval.pages import Document
from llava_tools.retrieval.pdf_process import DrawingLimitError, close_idle_processes
from llava_tools.retrieval.refused import load_refused
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_pdf
from tests.retrieval.hostile_pdfs import write_dense_pattern


@pytest.fixture(autouse=True)
def _short_limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    close_idle_processes()
    monkeypatch.setattr(pdf_process, "MAX_SECONDS", 0.5)
    yield
    close_idle_processes()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files of which pages were drawn."""
    names: list[str] = []
    request = pdf_process.PdfProcess.request

    def count(self: pdf_process.PdfProcess, name: str, **arguments: object) -> object:
        if arguments["do"] == "draw":
            names.append(os.path.basename(name.strip("'")))
        return request(self, name, **arguments)

    monkeypatch.setattr(pdf_process.PdfProcess, "request", count)
    return names


def test_i1_hostile_file_is_named_once_tried_and_the_rest_is_indexed(
    tmp_path: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_pdf(folder / "a.pdf", ["Before"])
    write_dense_pattern(folder / "b.pdf")
    write_pdf(folder / "c.pdf", ["After"])
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    report = index.update([folder])
    assert (report.documents, report.added) == (2, 2)
    assert drawn == ["a.pdf", "b.pdf", "c.pdf"]
    (skip,) = report.skipped
    assert skip.document == str(folder / "b.pdf")
    assert "b.pdf': page 1 cannot be drawn: it takes more than 0.5 seconds" in skip.reason

    drawn.clear()
    shutil.copyfile(folder / "b.pdf", folder / "copy.pdf")
    report = index.update([folder])
    assert (report.documents, report.added, report.unchanged) == (2, 0, 2)
    assert [Path(item.document).name for item in report.skipped] == ["b.pdf", "copy.pdf"]
    assert "takes more than 0.5 seconds" in report.skipped[1].reason
    assert drawn == []

    monkeypatch.setattr(pdf_process, "MAX_SECONDS", 0.6)  # other limits: once more
    assert len(index.update([folder]).skipped) == 2
    assert drawn == ["b.pdf"]


@pytest.mark.parametrize("index_changes", [False, True])
def test_file_that_a_plan_refuses_is_not_drawn_again(
    tmp_path: Path, drawn: list[str], index_changes: bool
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_pdf(folder / "a.pdf", ["Before"])
    write_dense_pattern(folder / "b.pdf")
    shutil.copyfile(folder / "b.pdf", folder / "copy.pdf")
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    plan = index.plan([folder])
    assert (plan.documents, plan.pages) == (1, 1)
    assert [Path(item.document).name for item in plan.skipped] == ["b.pdf", "copy.pdf"]
    assert drawn == ["a.pdf", "b.pdf"]

    drawn.clear()
    if index_changes:  # then files are compared again
        write_pdf(tmp_path / "c.pdf", ["Another"])
        index.update([tmp_path / "c.pdf"])
    report = index.update(plan)
    assert (report.documents, report.skipped) == (1 + index_changes, plan.skipped)
    index.update([folder])
    assert "b.pdf" not in drawn
    assert drawn[-1] == "a.pdf"


def test_copies_of_a_file_that_exceeds_the_limits_are_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def refuse(path: str, *_: object) -> Document:
        opened.append(path)
        raise DrawingLimitError("It takes too long.")

    monkeypatch.setattr(changes, "open_document", refuse)
    first = str(write_pdf(tmp_path / "a.pdf", ["A page"]))
    second = str(shutil.copyfile(first, tmp_path / "b.pdf"))
    skipped = changes.find_changes(None, [first, second]).skipped
    assert [(item.document, item.reason) for item in skipped] == [
        (first, "It takes too long."),
        (second, "It takes too long."),
    ]
    assert opened == [first]


def test_file_that_becomes_hostile_leaves_the_index(tmp_path: Path) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    write_pdf(tmp_path / "a.pdf", ["Harmless"])
    assert index.update([tmp_path / "a.pdf"]).documents == 1
    write_dense_pattern(tmp_path / "a.pdf")
    for _ in range(2):
        report = index.update([tmp_path / "a.pdf"])
        assert (report.documents, len(report.skipped)) == (0, 1)


@pytest.mark.parametrize(
    "value", ["", "{", "[]", '{"limits": 1}', '{"limits": null, "reasons": 3}']
)
def test_damaged_list_is_an_empty_one(tmp_path: Path, value: str) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    write_pdf(tmp_path / "a.pdf", ["A page"])
    index.update([tmp_path / "a.pdf"])
    index.store.values.put("refused", value)
    assert load_refused(index.store) == {}
