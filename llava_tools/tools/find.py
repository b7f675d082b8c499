"""find: searches the pages of an index, and returns them as images for the other tools.

The developer passes the index; `llava_tools.retrieval.PageIndex` is one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from llava_tools.errors import DocumentError, ImageError
from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.images.sources import shorten
from llava_tools.tools.display import ImageResult
from llava_tools.tools.geometry import Box
from llava_tools.tools.requests import RequestGenerator
from llava_tools.tools.spec import Text, ToolArguments, VisualTool

_log = logging.getLogger(__name__)


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
        """Return the image of a hit's page.

        Raises:
            DocumentError: Its file is gone or has another content now.
            ImageError: It cannot be used.
        """
        ...


class FindArguments(ToolArguments):
    """What to look for."""

    query: Text = Field(description="What the pages are to show or to say.")
    k: int = Field(3, ge=1, le=10, description="How many pages at most.")


class FoundPage(BaseModel):
    """A page.

    Attributes:
        image: Handle of its image; None if there is none.
        document: Name of the file, with as much of its folders as parts it from other files.
        page: Its number from 1.
        snippet: The matching text.
        note: Why there is no image.
        path: Path of the file, for the program; a planner does not read it.
    """

    model_config = ConfigDict(frozen=True)

    image: str | None = None
    document: str
    page: int
    snippet: str = ""
    note: str = ""
    path: str = ""


class FindResult(ImageResult):
    """Pages, best first. A notebook displays the first one that has an image."""

    program_only: ClassVar[Any] = {"pages": {"__all__": {"path"}}}

    pages: tuple[FoundPage, ...]

    @property
    def shown(self) -> tuple[str | None, Box | None]:
        """See `ImageResult.shown`."""
        return next((page.image for page in self.pages if page.image), None), None


#: The note of a page whose image cannot be made.
NO_IMAGE = "This page cannot be looked at: its file is gone, changed or unusable."


def make_find_tool(index: SearchIndex) -> VisualTool[FindArguments, FindResult]:
    """Return the tool that searches an index."""

    def find(arguments: FindArguments, resolver: ImageResolver) -> RequestGenerator[FindResult]:
        hits = index.search(arguments.query, arguments.k)
        names = document_names([hit.document for hit in hits])
        images = [open_page(index, hit)[0] for hit in hits]
        pages = tuple(
            FoundPage(
                image=None if image is None else resolver.add(image),
                document=names[hit.document],
                page=hit.page,
                snippet=hit.snippet,
                note=NO_IMAGE if image is None else "",
                path=hit.document,
            )
            for hit, image in zip(hits, images, strict=True)
        )
        result = FindResult(pages=pages)
        first = next((image for image in images if image is not None), None)
        return result if first is None else result.with_image(first)
        yield ()  # never reached: makes this a generator

    return VisualTool(
        "find",
        "Find the pages of documents, and the pictures, that words are about: gives the handle of "
        "each page's picture, to be looked at, with its document, page number and text.",
        FindArguments,
        find,
    )


def document_names(paths: Iterable[str]) -> dict[str, str]:
    """Return for each path its shortest ending that no other path has."""
    parts = {path: PurePath(path).parts for path in paths}

    def name(path: str) -> str:
        ending: tuple[str, ...] = ()
        for length in range(1, len(parts[path]) + 1):
            ending = parts[path][-length:]
            if sum(other[-length:] == ending for other in parts.values()) == 1:
                break
        return "/".join(ending)

    return {path: name(path) for path in parts}


def open_page(index: SearchIndex, hit: Any) -> tuple[ImageRef | None, str]:
    """Return the image of a page and "", or None and why there is none, which is logged, too."""
    try:
        return index.open(hit), ""
    except (DocumentError, ImageError) as error:
        name = shorten(hit.document, quote=False)
        _log.warning("page %s of %s has no image: %s", hit.page, name, error.message)
        return None, str(error)
