"""find: searches the pages of an index, and returns them as images for the other tools.

The developer passes the index; `llava_tools.retrieval.PageIndex` is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.tools.display import ImageResult
from llava_tools.tools.requests import RequestGenerator
from llava_tools.tools.spec import Text, ToolArguments, VisualTool


@runtime_checkable
class SearchIndex(Protocol):
    """An index of pages."""

    def search(self, query: str, k: int) -> Sequence[Any]:
        """Return the `k` best hits, best first.

        A hit has the attributes `document` (the file's path), `page` (from 1) and `snippet` (the
        part of the page's text that matches the query; empty without a text).
        """
        ...

    def open(self, hit: Any) -> ImageRef:
        """Return the image of a hit's page."""
        ...


class FindArguments(ToolArguments):
    """What to look for."""

    query: Text = Field(description="What the pages are to show or to say.")
    k: int = Field(3, ge=1, le=10, description="How many pages at most.")


class FoundPage(BaseModel):
    """A page: its image's handle, its file's path, its number from 1, and the matching text."""

    model_config = ConfigDict(frozen=True)

    image: str
    document: str
    page: int
    snippet: str = ""


class FindResult(ImageResult):
    """Pages, best first. A notebook displays the first one."""

    pages: tuple[FoundPage, ...]


def make_find_tool(index: SearchIndex) -> VisualTool[FindArguments, FindResult]:
    """Return the tool that searches an index."""

    def find(arguments: FindArguments, resolver: ImageResolver) -> RequestGenerator[FindResult]:
        hits = index.search(arguments.query, arguments.k)
        images = [index.open(hit) for hit in hits]
        pages = tuple(
            FoundPage(
                image=resolver.add(image), document=hit.document, page=hit.page, snippet=hit.snippet
            )
            for hit, image in zip(hits, images, strict=True)
        )
        result = FindResult(pages=pages)
        return result.with_image(images[0]) if images else result
        yield ()  # never reached: makes this a generator

    return VisualTool(
        "find",
        "Find the pages of documents, and the pictures, that words are about: gives the handle of "
        "each page's picture, to be looked at, with its document, page number and text.",
        FindArguments,
        find,
    )
