"""find: the pages that words are about, as images that the other tools can be shown.

The index is the developer's; `llava_tools.retrieval.PageIndex` is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.tools.display import Shown
from llava_tools.tools.spec import Arguments, Plan, VisualTool


class Page(Protocol):
    """A page that was found."""

    @property
    def document(self) -> str:
        """Path of its file."""
        ...

    @property
    def page(self) -> int:
        """Its number, from 1."""
        ...

    @property
    def snippet(self) -> str:
        """What it says of the query; empty where it has no text."""
        ...


@runtime_checkable
class Findable(Protocol):
    """Where pages are found."""

    def search(self, query: str, k: int) -> Sequence[Any]:
        """Return the `k` best `Page`s for words, best first."""
        ...

    def open(self, hit: Any) -> ImageRef:
        """Return the image of a page that was found."""
        ...


class FindArguments(Arguments):
    """What to look for."""

    query: str = Field(
        min_length=1, max_length=500, description="What the pages are to show or to say."
    )
    k: int = Field(3, ge=1, le=10, description="How many pages at most.")


class FoundPage(BaseModel):
    """A page.

    Attributes:
        image: Handle of its image.
        document: Path of its file.
        page: Number, from 1.
        snippet: What its text says of the query.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    document: str
    page: int
    snippet: str = ""


class Found(Shown):
    """Pages, best first. In a notebook the first one shows itself."""

    pages: tuple[FoundPage, ...]


def finder(index: Findable) -> VisualTool[FindArguments, Found]:
    """Return the tool that finds pages of an index."""

    def plan(arguments: FindArguments, resolver: ImageResolver) -> Plan[Found]:
        hits: Sequence[Page] = index.search(arguments.query, arguments.k)
        images = [index.open(hit) for hit in hits]
        pages = tuple(
            FoundPage(
                image=resolver.add(image), document=hit.document, page=hit.page, snippet=hit.snippet
            )
            for hit, image in zip(hits, images, strict=True)
        )
        found = Found(pages=pages)
        return found.with_image(images[0]) if images else found
        yield ()  # nothing is asked of the model

    return VisualTool(NAME, DESCRIPTION, FindArguments, plan)


NAME = "find"
DESCRIPTION = (
    "Find the pages of documents, and the pictures, that words are about: gives the handle of "
    "each page's picture, to be looked at, with its document, page number and text."
)
