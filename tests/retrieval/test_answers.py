"""`Citation` and `DocumentAnswer`: places, JSON, and the cited pages as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from llava_tools import Llava
from llava_tools.errors import RequestError
from llava_tools.retrieval import DocumentAnswer, PageIndex, ask
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.retrieval.documents import write_pdf


@pytest.fixture
def answer(tmp_path: Path) -> DocumentAnswer:
    """An answer that cites two pages with its words; one name is not good for files."""
    for name in ("in", "in & out?"):
        write_pdf(tmp_path / f"{name}.pdf", [f"The total for {name} is 42 euro"])
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([tmp_path / "in.pdf", tmp_path / "in & out?.pdf"])
    return ask(index, "What is the total?", Llava(backend=ScriptedBackend(["42 euro"])), k=2)


def test_f7_boxes_are_in_pixels_with_the_page_size_and_in_fractions_of_it(
    answer: DocumentAnswer,
) -> None:
    for citation, value in zip(answer.citations, answer.as_dict()["citations"], strict=True):
        assert value["size"] == [1008, 1344] == list(citation.image.size)
        assert value["box"] == list(citation.box or ())
        x1, y1, x2, y2 = value["normalized_box"]
        assert 0 < x1 < x2 < 1
        assert 0 < y1 < y2 < 0.2
        scaled = [x1 * 1008, y1 * 1344, x2 * 1008, y2 * 1344]
        assert scaled == pytest.approx(value["box"], abs=0.1)


def test_f7_a_citation_without_a_box_has_none_in_either_form(tmp_path: Path) -> None:
    write_pdf(tmp_path / "in.pdf", ["Tea"])
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([tmp_path / "in.pdf"])
    (value,) = ask(index, "Tea?", Llava(backend=ScriptedBackend(["hot"]))).as_dict()["citations"]
    assert (value["box"], value["normalized_box"]) == (None, None)
    assert (value["size"], value["snippet"]) == ([1008, 1344], "Tea")


def test_f7_cited_pages_are_exported_in_full_size_with_their_boxes(
    answer: DocumentAnswer, tmp_path: Path
) -> None:
    paths = answer.export(tmp_path / "new" / "cited")
    assert len(paths) == 2
    for number, (path, citation) in enumerate(zip(paths, answer.citations, strict=True), 1):
        assert path.name.startswith(f"{number:02}-in")
        assert path.name.endswith("-page-1.png")
        image = Image.open(path).convert("RGB")
        assert image.size == citation.image.size
        assert citation.box is not None
        x1, y1, _, y2 = citation.box
        assert image.getpixel((x1 - 2, (y1 + y2) // 2)) == (255, 0, 0)
    assert sorted((tmp_path / "new" / "cited").iterdir()) == sorted(paths)
    assert answer.export(tmp_path / "new" / "cited") == paths


def test_a_folder_that_cannot_be_written_is_an_error(
    answer: DocumentAnswer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot be written to: Not a directory"):
        answer.export(tmp_path / "file" / "cited")
