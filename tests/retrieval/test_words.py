"""Places of a text layer's words that an index keeps, beside those that pdfium finds."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from llava_tools.retrieval.ocr import dump_lines, find_words, load_lines
from llava_tools.retrieval.pages import (
    Document,
    PageImage,
    find_text,
    hash_file,
    open_document,
    read_page,
    read_words,
)
from tests.retrieval.documents import write_pdf

TEXT = "Part No. 42-B (new): multi-way valve, 3.50 EUR"


def read(path: Path) -> tuple[Document, PageImage]:
    """Return a document, and its first page with the places of its words as an index has them."""
    document = open_document(str(path), *hash_file(str(path)))
    page = read_words(document, read_page(document, 1))
    stored = load_lines(dump_lines(page.lines))
    assert tuple(stored) == page.lines
    return document, page


@pytest.mark.parametrize(
    "text", ["Part", "no. 42-B", "42", "(new)", "multi-way valve", "3.50 EUR", TEXT]
)
def test_words_are_where_the_text_layer_has_them(tmp_path: Path, text: str) -> None:
    document, page = read(write_pdf(tmp_path / "a.pdf", [TEXT]))
    box = find_text(document, 1, text, page.image.size)
    assert box is not None
    assert find_words(page.lines, text) == box


def test_words_that_are_not_there_have_no_place(tmp_path: Path) -> None:
    _, page = read(write_pdf(tmp_path / "a.pdf", [TEXT]))
    assert find_words(page.lines, "val") is None
    assert find_words(page.lines, "another") is None


def test_images_and_rotated_pages_have_no_words(tmp_path: Path) -> None:
    Image.new("RGB", (50, 30), "red").save(tmp_path / "r.png")
    assert read(tmp_path / "r.png")[1].lines == ()
    write_pdf(tmp_path / "a.pdf", [TEXT])
    with closing(pypdfium2.PdfDocument(tmp_path / "a.pdf")) as pdf:
        pdf[0].set_rotation(90)
        pdf.save(tmp_path / "rotated.pdf")
    document, page = read(tmp_path / "rotated.pdf")
    assert page.text == TEXT
    assert page.lines == ()
    assert find_text(document, 1, "valve", page.image.size) is None
