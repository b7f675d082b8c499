"""The answer to a question over documents: its text, and the pages and places it comes from."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llava_tools.images import ImageRef
from llava_tools.retrieval.search import Hit
from llava_tools.tools.display import draw_box
from llava_tools.tools.geometry import Box


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
    """

    hit: Hit
    answer: str
    certainty: float
    thumbnail: bytes = field(repr=False)
    box: Box | None
    image: ImageRef = field(repr=False)

    @property
    def document(self) -> str:
        """Path of the file."""
        return self.hit.document

    @property
    def page(self) -> int:
        """Number of the page, from 1."""
        return self.hit.page

    @property
    def snippet(self) -> str:
        """The part of the page's text that matches the question; empty without a text."""
        return self.hit.snippet

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it, without images."""
        return self.hit.as_dict() | {
            "answer": self.answer,
            "certainty": self.certainty,
            "box": None if self.box is None else list(self.box),
        }

    def _repr_png_(self) -> bytes:
        """Return the page with the box."""
        return draw_box(self.image, self.box)


@dataclass(frozen=True)
class DocumentAnswer:
    """An answer with the pages it comes from. A notebook shows it with these pages and boxes.

    Attributes:
        text: The answer.
        certainty: Probability of the answer over all pages, 0 to 1 (see `qa.merge_answers`).
        citations: The pages with this answer, best first; at least one.
        others: The pages with another answer.
        model: Name of the model.
    """

    text: str
    certainty: float
    citations: tuple[Citation, ...]
    others: tuple[Citation, ...]
    model: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        pages = ", ".join(map(_label, self.citations))
        return f"DocumentAnswer({self.text!r}, certainty={self.certainty}, cites {pages})"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it, without images."""
        return {
            "answer": self.text,
            "certainty": self.certainty,
            "model": self.model,
            "citations": [citation.as_dict() for citation in self.citations],
            "others": [citation.as_dict() for citation in self.others],
        }

    def _repr_png_(self) -> bytes:
        """Return the first page cited, with the box."""
        return self.citations[0]._repr_png_()

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
