"""Which pages words are about: by their images' vectors, by their texts (BM25), or by both.

The vectors rank every page; where the words stand nowhere, they alone decide. How both are fused is
told in `fusion`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from llava_tools.core.backend import Encoder
from llava_tools.errors import RequestError
from llava_tools.retrieval.calibration import VectorCalibration
from llava_tools.retrieval.fusion import Ranking, fused, use_logprobs
from llava_tools.retrieval.store import Store

Mode = Literal["hybrid", "picture", "text"]

#: How far down each ranking is read, at the least.
DEPTH = 50
#: Characters of a snippet, about.
SNIPPET = 200


@dataclass(frozen=True)
class Hit:
    """A page that was found.

    Attributes:
        document: Path of the file.
        page: From 1.
        score: The higher the better; comparable within one search only.
        handle: Of the page's image.
        snippet: What its text says about the query, or how it begins; empty without a text.
        text: Its whole text layer.
        size: Width and height of its image.
        digest: Of the document's bytes.
    """

    document: str
    page: int
    score: float
    handle: str
    snippet: str
    text: str
    size: tuple[int, int]
    digest: str

    def as_dict(self) -> dict[str, Any]:
        """Return document, page, score, handle and snippet, as JSON can hold them."""
        names = ("document", "page", "score", "handle", "snippet")
        return {name: getattr(self, name) for name in names}


def check(query: str, k: int, mode: str) -> None:
    """Refuse what cannot be searched.

    Raises:
        RequestError: No words, no pages, or an unknown mode.
    """
    if not isinstance(query, str) or not query.strip():
        raise RequestError(f"query={query!r:.60} has no words.", "Say what to look for.")
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= 1000:
        raise RequestError(f"k={k!r} is not possible.", "Use 1 to 1000.")
    if mode not in get_args(Mode):
        raise RequestError(f"mode={mode!r} is not possible.", f"Use {', '.join(get_args(Mode))}.")


def find_pages(
    store: Store, trust: VectorCalibration, encoder: Encoder, query: str, k: int, mode: Mode
) -> list[Hit]:
    """Return the `k` best pages; ties go by the document's digest and page."""
    depth = max(DEPTH, 4 * k)
    texts = store.saying(query, depth) if mode != "picture" else []
    rankings: list[Ranking] = [(texts, 1.0)]
    if mode != "text":
        (vector,) = encoder.embed_texts([query])
        near = store.nearest(vector, depth)
        hybrid = mode == "hybrid"
        rankings = use_logprobs(trust, query, vector, texts, near) if hybrid else [(near, 1.0)]
    scores, rows = fused(rankings, 2 if mode == "hybrid" else 1)
    best = sorted(scores, key=lambda page: (-scores[page], page))[:k]
    return [_hit(store, rows[page], scores[page], query) for page in best]


def reranked(hits: Sequence[Hit], score: Callable[[Hit], float]) -> list[Hit]:
    """Return hits by another score; equal ones stay in their order."""
    scored = [replace(hit, score=score(hit)) for hit in hits]
    return sorted(scored, key=lambda hit: -hit.score)


def snippet_of(text: str, query: str) -> str:
    """Return the part of a text with the most of the query's words, or its beginning."""
    wanted = {word for word in re.findall(r"\w+", query.lower()) if len(word) > 2}
    words = list(re.finditer(r"\w+", text))
    said = [(m.start(), m[0].lower()) for m in words if m[0].lower() in wanted]
    start, most = 0, 0
    for place, _ in said:
        within = len({word for other, word in said if place <= other < place + SNIPPET})
        if within > most:
            start, most = max(0, place - SNIPPET // 4), within
    if start:
        start = text.find(" ", start) + 1
    end = len(text) if len(text) <= start + SNIPPET else text.rfind(" ", start, start + SNIPPET)
    end = end if end > start else start + SNIPPET
    return ("… " if start else "") + text[start:end] + (" …" if end < len(text) else "")


def _hit(store: Store, row: dict[str, Any], score: float, query: str) -> Hit:
    return Hit(
        document=store.sources[row["digest"]].document,
        page=row["page"],
        score=round(score, 4),
        handle=row["handle"],
        snippet=snippet_of(row["text"], query),
        text=row["text"],
        size=(row["width"], row["height"]),
        digest=row["digest"],
    )
