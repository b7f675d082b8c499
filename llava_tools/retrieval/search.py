"""Search: ranks pages for a query by their images' vectors, by their texts (BM25), or by both."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from llava_tools.core.backend import Encoder
from llava_tools.core.unicode import well_formed
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef
from llava_tools.retrieval.calibration import VectorCalibration
from llava_tools.retrieval.filters import PageFilter
from llava_tools.retrieval.fusion import fuse, match_images, weighted_rankings
from llava_tools.retrieval.schema import PageMatch
from llava_tools.retrieval.scores import MIN_COVERAGE, best_coverage, coverage
from llava_tools.retrieval.store import Store
from llava_tools.retrieval.text_index import has_phrases

SearchMode = Literal["hybrid", "image", "text"]

#: Pages of each ranking that are read, at least.
MIN_DEPTH = 50
#: Characters of a query, at most: its words are compared with those of each page.
MAX_QUERY = 10_000
#: Characters of a snippet, about.
SNIPPET_LENGTH = 200


@dataclass(frozen=True)
class Hit:
    """A page that a search returned.

    Attributes:
        document: Path of the file.
        page: Number, from 1.
        score: 0 to 1, comparable across searches of one mode. In `text`, the best page has the
            share of the query's letters in words that are on it (`scores.coverage`), and the others
            less as BM25 falls. In `image`, it is the cosine of the vectors. In `hybrid`, the best
            page has the share, or the evidence for an image (`fusion`) if that is higher. With
            `rerank`, it is the probability that the page shows the query.
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
        """Return document, page, score, handle, snippet and size, as JSON can hold them."""
        names = ("document", "page", "score", "handle", "snippet")
        return {name: getattr(self, name) for name in names} | {"size": list(self.size)}

    def _repr_html_(self) -> str:
        place = html.escape(f"{Path(self.document).name}, page {self.page}")
        snippet = html.escape(self.snippet)
        return f"<div><b>{place}</b> ({self.score:.3f})<br><small>{snippet}</small></div>"


#: A page of a search's result, with its score.
_Scored = tuple[PageMatch, float]


def check_search(query: str | None, k: int, mode: str, image: ImageRef | None = None) -> None:
    """Raise `RequestError` for a blank or long query, an impossible `k` or an unknown mode."""
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= 1000:
        raise RequestError(f"k={k!r} is not possible.", "Use 1 to 1000.")
    if mode not in get_args(SearchMode):
        names = ", ".join(get_args(SearchMode))
        raise RequestError(f"mode={mode!r} is not possible.", f"Use {names}.")
    if image is not None:
        if query is not None:
            raise RequestError("A search has a query or an image, not both.", "Leave out one.")
        if mode == "text":
            raise RequestError("An image is not found by text.", "Use mode='image'.")
    elif not isinstance(query, str) or not query.strip():
        raise RequestError(f"query={query!r:.60} has no words.", "Say what to look for.")
    elif len(query) > MAX_QUERY:
        raise RequestError(
            f"The query has {len(query):,} characters, more than the {MAX_QUERY:,} that are "
            "looked for.",
            "Shorten it.",
        )


def search_pages(
    store: Store,
    calibration: VectorCalibration,
    encoder: Encoder | None,
    query: str,
    k: int,
    mode: SearchMode,
    where: PageFilter | None = None,
    min_coverage: float = MIN_COVERAGE,
) -> list[Hit]:
    """Return the `k` best pages that match `where`; ties are ordered by digest and page.

    Without an `encoder`, a search by `mode` "hybrid" uses no vectors; "image" needs it.
    """
    query = well_formed(query)
    depth = max(MIN_DEPTH, 4 * k)
    texts = match_texts(store, query, depth, where, min_coverage) if mode != "image" else []
    if mode == "text":
        scored = _score_texts(query, texts)
    elif encoder is None:
        scored = score_hybrid(calibration, query, (), texts, [])
    else:
        (vector,) = encoder.embed_texts([query])
        nearest = store.nearest(vector, depth, where=where)
        nearest = [row for row in nearest if has_phrases(query, row["text"])]
        if mode == "image":
            scored = _score_vectors(nearest)
        else:
            scored = score_hybrid(calibration, query, vector, texts, nearest)
    return [_hit(store, row, score, query) for row, score in _best(scored, k)]


def search_by_image(
    store: Store, encoder: Encoder, image: ImageRef, k: int, where: PageFilter | None = None
) -> list[Hit]:
    """Return the `k` pages that look most like an image."""
    (vector,) = encoder.embed_images([image])
    scored = _score_vectors(store.nearest(vector, max(MIN_DEPTH, k), where=where))
    return [_hit(store, row, score, "") for row, score in _best(scored, k)]


def find_page(store: Store, handle: str) -> Hit | None:
    """Return the page whose image has a handle, with a score of 1; None if there is none."""
    row = store.find_page(handle)
    return None if row is None else _hit(store, row, 1.0, "")


def match_texts(
    store: Store,
    query: str,
    limit: int,
    where: PageFilter | None = None,
    min_coverage: float = MIN_COVERAGE,
) -> list[PageMatch]:
    """Return the pages that have all phrases and enough of the words of a query, best first."""
    return [
        row
        for row in store.match_text(query, limit, where)
        if coverage(query, row["text"]) >= min_coverage and has_phrases(query, row["text"])
    ]


def score_hybrid(
    calibration: VectorCalibration,
    query: str,
    vector: Sequence[float],
    texts: Sequence[PageMatch],
    nearest: Sequence[PageMatch],
) -> list[_Scored]:
    """Fuse both rankings; the best page's score is that of the text or of the image, if higher.

    Without a page that is found by its text or its image, the list is empty.
    """
    share = best_coverage(query, texts)
    candidates = match_images(calibration, vector, texts, nearest)
    rankings = weighted_rankings(calibration, share, texts, nearest, candidates)
    scores, rows = fuse(rankings, total_weight=2)
    images = [min(1.0, evidence) for evidence, _ in candidates[:1]]
    pages = [calibration.image_weight * (1 - row["_distance"]) for row in nearest if row["text"]]
    best = max(0.0, share, *images, *pages[:1])
    if best == 0:
        return []
    scale = best / max(scores.values())
    return [(rows[page], scale * score) for page, score in scores.items()]


def _score_texts(query: str, texts: Sequence[PageMatch]) -> list[_Scored]:
    """Return scores that fall from the best coverage as BM25 falls."""
    best = best_coverage(query, texts)
    return [(row, best * row["_score"] / texts[0]["_score"]) for row in texts]


def _score_vectors(nearest: Sequence[PageMatch]) -> list[_Scored]:
    """Return the cosines; a page at a right angle to the query is not near."""
    return [(row, 1 - row["_distance"]) for row in nearest if row["_distance"] < 1]


def _best(scored: Iterable[_Scored], k: int) -> list[_Scored]:
    return sorted(scored, key=lambda one: (-one[1], one[0]["digest"], one[0]["page"]))[:k]


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
        document=store.source(row["digest"]).document,
        page=row["page"],
        score=round(score, 4),
        handle=row["handle"],
        snippet=make_snippet(row["text"], query),
        text=row["text"],
        size=(row["width"], row["height"]),
        digest=row["digest"],
    )
