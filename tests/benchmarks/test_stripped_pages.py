"""The PDFs of `benchmarks.stripped_pages`: each third page has no text layer."""

from __future__ import annotations

from pathlib import Path

import pypdfium2
import pytest

from benchmarks.stripped_pages import by_layer, draw_pages, strip_manuals
from tests.retrieval.documents import write_pdf


def layers(path: Path) -> list[str]:
    return [page.get_textpage().get_text_range().strip() for page in pypdfium2.PdfDocument(path)]


def test_each_third_page_of_a_manual_is_an_image_of_the_same_size(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = write_pdf(tmp_path / "in" / "manual.pdf", ["one", "two", "three", "four"], (300, 200))
    strip_manuals(source.parent, tmp_path / "out")
    stripped = tmp_path / "out" / "manual.pdf"
    assert layers(stripped) == ["one", "two", "", "four"]
    assert [page.get_size() for page in pypdfium2.PdfDocument(stripped)] == [
        pytest.approx(page.get_size()) for page in pypdfium2.PdfDocument(source)
    ]
    assert [path.name for path in stripped.parent.iterdir()] == ["manual.pdf"]


def test_drawn_pages_have_captions_of_their_scenes_but_for_each_third(tmp_path: Path) -> None:
    queries = draw_pages(tmp_path, 12, 3)
    texts = [text for path in sorted(tmp_path.glob("*.pdf")) for text in layers(path)]
    assert [bool(text) for text in texts] == [True, True, False] * 4
    assert texts[6].startswith("Figure 7.")
    assert [len(pages) for _, pages in queries["captions"]] == [1] * 12
    places = [next(iter(pages)) for _, pages in queries["captions"]]
    assert places == [(name, page) for name in ("0000", "0001") for page in range(1, 7)]
    split = by_layer(queries["captions"])
    assert [len(split[layer]) for layer in ("all", "with a text", "without")] == [12, 8, 4]
