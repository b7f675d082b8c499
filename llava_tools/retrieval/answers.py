"""The answer to a question over documents: its text, and the pages and places it comes from."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llava_tools.images import ImageRef
from llava_tools.retrieval.exporting import PageView, box_fields, export_pages, normalize_box
from llava_tools.retrieval.files import Skipped
from llava_tools.retrieval.search import Hit
from llava_tools.tools.display import draw_box
from llava_tools.tools.geometry import Box

#: The text of an answer without a source.
NOT_FOUND = "Not in these documents."


@dataclass(frozen=True)
class Citation:
    """A page with the model's answer to it.

    Attributes:
        hit: The page: document, number, handle, snippet, text, score.
        answer: The model's answer.
        certainty: Geometric mean of the probabilities of that answer's tokens, 0 to 1.
        thumbnail: The page as a small JPEG.
        box: Place of the answer, or the tile of the page that gave it, in pixels of `image`; None
            if no place is known.
        image: The page.
        snippet: The part of the page's text with the answer, or else the one that matches the
            question; empty without a text.
    """

    hit: Hit
    answer: str
    certainty: float
    thumbnail: bytes = field(repr=False)
    box: Box | None
    image: ImageRef = field(repr=False)
    snippet: str

    @property
    def document(self) -> str:
        """Path of the file."""
        return self.hit.document

    @property
    def page(self) -> int:
        """Number of the page, from 1."""
        return self.hit.page

    @property
    def normalized_box(self) -> tuple[float, float, float, float] | None:
        """The box as fractions, 0 to 1, of the page's width and height."""
        return None if self.box is None else normalize_box(self.box, self.image.size)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it, without images.

        `box` is in pixels of a page image of `size` (width, height); `normalized_box` fits the page
        at any size.
        """
        return self.hit.as_dict() | {
            "snippet": self.snippet,
            "answer": self.answer,
            "certainty": self.certainty,
            **box_fields(self.box, self.image.size),
        }

    def _repr_png_(self) -> bytes:
        """Return the page with the box."""
        return draw_box(self.image, self.box)


@dataclass(frozen=True)
class DocumentAnswer:
    """An answer with the pages it comes from. A notebook shows it with these pages and boxes.

    Attributes:
        text: The answer; `NOT_FOUND` if it has no source.
        certainty: Probability of the answer over all pages, 0 to 1 (see `merging.merge_answers`).
        citations: The pages with this answer, best first; none if the documents do not answer the
            question.
        others: The pages with another answer, or whose answer was not trusted.
        model: Name of the model.
        skipped: Files among the matches that are gone, changed or unusable.
        claims: For an answer in sentences each of them, as the `answer` of a citation of its own:
            the page, the snippet that supports it, and its box. Empty for a short answer.
    """

    text: str
    certainty: float
    citations: tuple[Citation, ...]
    others: tuple[Citation, ...]
    model: str
    skipped: tuple[Skipped, ...] = ()
    claims: tuple[Citation, ...] = ()

    @property
    def is_found(self) -> bool:
        """Whether the documents answer the question."""
        return bool(self.citations)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        pages = ", ".join(map(_label, self.citations))
        return f"DocumentAnswer({self.text!r}, certainty={self.certainty}, cites {pages})"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it, without images."""
        return {
            "answer": self.text,
            "found": self.is_found,
            "certainty": self.certainty,
            "model": self.model,
            "citations": [citation.as_dict() for citation in self.citations],
            "claims": [citation.as_dict() for citation in self.claims],
            "others": [citation.as_dict() for citation in self.others],
            "skipped": [item.as_dict() for item in self.skipped],
        }

    def export(self, folder: str | Path) -> list[Path]:
        """Write the cited pages, with their boxes drawn, as PNG files; return their paths in order.

        The folder is created if it is missing; files of the same name are replaced.

        Raises:
            RequestError: The folder cannot be written to.
        """
        views = (PageView(c.document, c.page, c.image, c.box) for c in self.citations)
        return export_pages(views, folder)

    def _repr_png_(self) -> bytes | None:
        """Return the first page cited, with the box; None without one."""
        return self.citations[0]._repr_png_() if self.citations else None

    def _repr_html_(self) -> str:
        """Return the answer above the pages that it cites, each with its box."""
        figures = "".join(map(_figure, self.citations))
        return f"<div><p><b>{html.escape(self.text)}</b></p>{figures}</div>"


def _label(citation: Citation) -> str:
    return f"{Path(citation.document).name}, page {citation.page}"


def _figure(citation: Citation) -> str:
    data = base64.b64encode(citation._repr_png_()).decode()
    caption = html.escape(_label(citation))
    snippet = html.escape(citation.snippet)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{caption}">'
        f"<figcaption>{caption}<br><small>{snippet}</small></figcaption></figure>"
    )
