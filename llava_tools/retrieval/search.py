"""Search: ranks pages for a query by their images' vectors, by their texts (BM25), or by both."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from llava_tools.core.backend import Encoder
from llava_tools.core.unicode import well_formed
from llava_tools.errors import RequestError
from llava_tools.retrieval.calibration import VectorCalibration
from llava_tools.retrieval.filters import PageFilter
from llava_tools.retrieval.fusion import Ranking, fuse, weighted_rankings
from llava_tools.retrieval.schema import PageMatch
from llava_tools.retrieval.store import Store

SearchMode = Literal["hybrid", "image", "text"]

#: Pages of each ranking that are read, at least.
MIN_DEPTH = 50
#: Characters of a snippet, about.
SNIPPET_LENGTH = 200


@dataclass(frozen=True)
class Hit:
    """A page that a search returned.

    Attributes:
        document: Path of the file.
        page: Number, from 1.
        score: The higher the better; comparable within one search only.
        handle: Handle of the page's image.
        snippet: See `make_snippet`; empty without a text.
        text: Its whole text layer.
        size: Width and height of its image in pixels.
        digest: SHA-256 of the document's bytes.
    """

    document: str
    page: int
    score: float
    handle: str
    snippet: str
    text: str = field(repr=False)
    size: tuple[int, int] = field(repr=False)
    digest: str = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return document, page, score, handle and snippet, as JSON can hold them."""
        names = ("document", "page", "score", "handle", "snippet")
        return {name: getattr(self, name) for name in names}

    def _repr_html_(self) -> str:
        place = html.escape(f"{Path(self.document).name}, page {self.page}")
        snippet = html.escape(self.snippet)
        return f"<div><b>{place}</b> ({self.score:.3f})<br><small>{snippet}</small></div>"


def check_search(query: str, k: int, mode: str) -> None:
    """Raise `RequestError` for a blank query, an impossible `k` or an unknown mode."""
    if not isinstance(query, str) or not query.strip():
        raise RequestError(f"query={query!r:.60} has no words.", "Say what to look for.")
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= 1000:
        raise RequestError(f"k={k!r} is not possible.", "Use 1 to 1000.")
    if mode not in get_args(SearchMode):
        names = ", ".join(get_args(SearchMode))
        raise RequestError(f"mode={mode!r} is not possible.", f"Use {names}.")


def search_pages(
    store: Store,
    calibration: VectorCalibration,
    encoder: Encoder,
    query: str,
    k: int,
    mode: SearchMode,
    where: PageFilter | None = None,
) -> list[Hit]:
    """Return the `k` best pages that match `where`; ties are ordered by digest and page."""
    query = well_formed(query)
    depth = max(MIN_DEPTH, 4 * k)
    texts = store.match_text(query, depth, where) if mode != "image" else []
    rankings: list[Ranking] = [(texts, 1.0)]
    if mode != "text":
        (vector,) = encoder.embed_texts([query])
        nearest = store.nearest(vector, depth, where=where)
        if mode == "image":
            rankings = [(nearest, 1.0)]
        else:
            rankings = weighted_rankings(calibration, query, vector, texts, nearest)
    scores, rows = fuse(rankings, total_weight=2 if mode == "hybrid" else 1)
    best = sorted(scores, key=lambda page: (-scores[page], page))[:k]
    return [_hit(store, rows[page], scores[page], query) for page in best]


def make_snippet(text: str, query: str) -> str:
    """Return the part of a text with the most words of the query, or its beginning."""
    words = set(re.findall(r"\w{3,}", query.lower()))
    tokens = [(token.start(), token[0].lower()) for token in re.finditer(r"\w+", text)]
    matches = [(position, word) for position, word in tokens if word in words]
    start, most = 0, 0
    for position, _ in matches:
        end = position + SNIPPET_LENGTH
        count = len({word for other, word in matches if position <= other < end})
        if count > most:
            start, most = max(0, position - SNIPPET_LENGTH // 4), count
    if start:
        start = text.find(" ", start) + 1
    end = start + SNIPPET_LENGTH
    if len(text) <= end:
        end = len(text)
    elif (space := text.rfind(" ", start, end)) > start:
        end = space
    return ("… " if start else "") + text[start:end] + (" …" if end < len(text) else "")


def _hit(store: Store, row: PageMatch, score: float, query: str) -> Hit:
    return Hit(
        document=store.sources[row["digest"]].document,
        page=row["page"],
        score=round(score, 4),
        handle=row["handle"],
        snippet=make_snippet(row["text"], query),
        text=row["text"],
        size=(row["width"], row["height"]),
        digest=row["digest"],
    )
