"""`find`: names of documents, pages without an image, what the planner and the program get."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest

from llava_tools import Llava, open_image, tools
from llava_tools.errors import DocumentError, ImageError, LlavaToolsError
from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.retrieval import Hit
from llava_tools.testing import ScriptedBackend
from llava_tools.tools.find import NO_IMAGE, FindResult, FoundPage, document_names
from tests.tools.scene import WIDE

HIT = Hit("/home/ann/in/manual.pdf", 2, 1.0, "", "to descale", "", WIDE.size, "")


class Index:
    """Hits, of which some have an image."""

    def __init__(self, *hits: Hit, error: LlavaToolsError | None = None) -> None:
        self.hits = hits
        self.error = error

    def search(self, query: str, k: int) -> Sequence[Hit]:
        return self.hits[:k]

    def open(self, hit: Hit) -> ImageRef:
        if self.error is not None and hit == self.hits[0]:
            raise self.error
        return open_image(WIDE)


def find(index: Index) -> FindResult:
    resolver = ImageResolver(ImageStore())
    result = tools.call(Llava(backend=ScriptedBackend()), "find", {"query": "x"}, resolver, index)
    assert isinstance(result, FindResult)
    return result


def test_planner_reads_names_of_documents_and_the_program_gets_paths() -> None:
    result = find(Index(HIT))
    handle = open_image(WIDE).handle
    assert json.loads(str(result)) == {
        "pages": [{"image": handle, "document": "manual.pdf", "page": 2, "snippet": "to descale"}]
    }
    assert result.pages[0].path == "/home/ann/in/manual.pdf"
    assert result.model_dump()["pages"][0]["path"] == "/home/ann/in/manual.pdf"


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/a/b/x.pdf"], ["x.pdf"]),
        (["/a/b/x.pdf", "/a/b/x.pdf"], ["x.pdf", "x.pdf"]),
        (["/a/b/x.pdf", "/a/c/x.pdf", "/a/c/y.pdf"], ["b/x.pdf", "c/x.pdf", "y.pdf"]),
        (["/a/b/x.pdf", "/c/b/x.pdf"], ["a/b/x.pdf", "c/b/x.pdf"]),
        (["x.pdf", "a/x.pdf"], ["x.pdf", "a/x.pdf"]),
        ([], []),
    ],
)
def test_documents_have_the_shortest_names_that_part_them(
    paths: list[str], names: list[str]
) -> None:
    found = document_names(paths)
    assert [found[path] for path in paths] == names


@pytest.mark.parametrize(
    "error",
    [DocumentError("/home/ann/in/manual.pdf is gone.", "Index it again."), ImageError("No.", "x")],
)
def test_page_whose_file_is_gone_comes_without_an_image(
    error: LlavaToolsError, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "llava_tools"):
        result = find(Index(HIT, replace(HIT, page=3), error=error))
    assert "page 2 of /home/ann/in/manual.pdf has no image" in caplog.text
    first, second = json.loads(str(result))["pages"]
    assert first == {
        "document": "manual.pdf",
        "page": 2,
        "snippet": "to descale",
        "note": NO_IMAGE,
    }
    assert (second["page"], second["image"]) == (3, open_image(WIDE).handle)
    assert result._repr_png_() is not None


def test_result_without_an_image_displays_as_text() -> None:
    result = FindResult(pages=(FoundPage(document="a.pdf", page=1),))
    assert result._repr_png_() is None
    assert find(Index())._repr_html_() is None
