"""Questions over an index: pages are found, each is asked, and their answers are merged.

    found = ask(PageIndex("my-index"), "How often is the machine to be descaled?", Llava("7b"))
    found.text, found.citations[0].document, found.citations[0].page

LLaVA 1.5 was trained on one picture a prompt, so every page is asked by itself, in one batch, which
told right far more often than all in one prompt (`llava_tools.tools.compare`). Equal answers count
together: each by how near its page is and by how sure the model was of it. The pages that gave the
answer are what it cites.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from llava_tools import choosing
from llava_tools.errors import DocumentError, RequestError, refuse_unknown
from llava_tools.images import ImageRef
from llava_tools.model import Llava
from llava_tools.retrieval.index import PageIndex
from llava_tools.retrieval.search import Hit, Mode
from llava_tools.tools.album import Album
from llava_tools.tools.compare import plain
from llava_tools.tools.display import drawn
from llava_tools.tools.geometry import Box
from llava_tools.tools.locate import LocateArguments, locate
from llava_tools.tools.spec import Plan, acarry_out, answers, carry_out, question
from llava_tools.types import Answer, Request

#: How LLaVA 1.5 was told in training what a picture says (TextCaps, TextVQA).
SAYS = "{question}\nReference OCR token: {text}"
#: From which certainty on a place that the model named is believed.
CERTAIN = 0.5


class AskOptions(TypedDict, total=False):
    """How pages are found and asked; see `ask`."""

    k: int
    mode: Mode
    rerank: bool
    thing: str | None
    short: bool
    with_text: bool
    weighed: bool
    max_tokens: int


@dataclass(frozen=True)
class Citation:
    """A page that was asked, and what it gave.

    Attributes:
        hit: The page: document, number, handle, snippet, text, score.
        answer: What the model said about it.
        certainty: Probability of that answer's tokens, 0 to 1, their geometric mean.
        thumbnail: The page as a small JPEG.
        box: Where it stands, in pixels of `picture`; None where no place was found.
        picture: The page.
    """

    hit: Hit
    answer: str
    certainty: float
    thumbnail: bytes = field(repr=False)
    box: Box | None
    picture: ImageRef = field(repr=False)

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
        """What the page's text says about the question; empty without a text."""
        return self.hit.snippet

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it, without pictures."""
        return self.hit.as_dict() | {
            "answer": self.answer,
            "certainty": self.certainty,
            "box": None if self.box is None else list(self.box),
        }

    def _repr_png_(self) -> bytes:
        """Return the page with the box."""
        return drawn(self.picture, self.box)


@dataclass(frozen=True)
class DocumentAnswer:
    """An answer with its evidence. In a notebook it shows itself with the pages and boxes.

    Attributes:
        text: The answer.
        certainty: Its share in what all pages' answers weigh together, times how sure the model
            was of it, 0 to 1.
        citations: The pages that gave it, nearest first; at least one.
        others: Pages that were asked and said something else.
        model: Name of the model that answered.
    """

    text: str
    certainty: float
    citations: tuple[Citation, ...]
    others: tuple[Citation, ...]
    model: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        pages = ", ".join(_named(citation) for citation in self.citations)
        return f"DocumentAnswer({self.text!r}, certainty={self.certainty}, cites {pages})"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it, without pictures."""
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
        shown = "".join(_figure(citation) for citation in self.citations)
        return f"<div><p><b>{html.escape(self.text)}</b></p>{shown}</div>"


def ask(
    index: PageIndex, words: str, model: Llava | None = None, **options: Unpack[AskOptions]
) -> DocumentAnswer:
    """Answer a question from the pages of an index.

    Args:
        index: Where to look.
        words: The question.
        model: Who looks, in this process or behind `base_url`; the embedded model by default.
        **options: `k`, how many pages are asked (3); `mode` of `PageIndex.search`; `rerank`,
            whether the model sees 3 k pages to choose them (False); `thing`, what to draw the
            boxes around, rather than the answer's own words; `short` (True), whether a word or a
            phrase is wanted; `with_text` (False), whether the model is told each page's snippet
            beside the picture; `weighed` (True), whether answers count by the model's
            log-probabilities, which not every server reports; `max_tokens` of an answer (64).

    Raises:
        RequestError: An impossible question or option.
        DocumentError: No page was found, or a page's file is gone or has changed since.
        IndexStoreError: There is no index there.
        ModelError: The model or the embedder cannot be loaded.
        EngineError: The engine could not finish.
    """
    asking = _Asking.of(index, words, options)
    model = model or Llava()
    return carry_out(model, asking.plan(model))


async def aask(
    index: PageIndex, words: str, model: Llava | None = None, **options: Unpack[AskOptions]
) -> DocumentAnswer:
    """`ask` without blocking the event loop; cancelling the task stops the generation."""
    asking = _Asking.of(index, words, options)
    model = model or Llava()
    return await acarry_out(model, asking.plan(model))


@dataclass(frozen=True)
class _Asking:
    index: PageIndex
    words: str
    k: int = 3
    mode: Mode = "hybrid"
    rerank: bool = False
    thing: str | None = None
    short: bool = True
    with_text: bool = False
    weighed: bool = True
    max_tokens: int = 64

    @classmethod
    def of(cls, index: PageIndex, words: str, options: AskOptions) -> _Asking:
        refuse_unknown(options, AskOptions.__annotations__, "ask")
        thing = options.get("thing")
        if thing is not None and not thing.strip():
            raise RequestError(f"thing={thing!r} names nothing.", "Say what to find, or None.")
        return cls(index, words, **options)

    def plan(self, model: Llava) -> Plan[DocumentAnswer]:
        index = self.index
        rerank = model if self.rerank else None
        hits = index.search(self.words, self.k, mode=self.mode, rerank=rerank)
        if not hits:
            raise DocumentError(
                f"No page says anything of {self.words!r:.80}.",
                "Index something first, or ask in other words.",
            )
        pages = [index.open(hit) for hit in hits]
        requests = [self._request(hit, page) for hit, page in zip(hits, pages, strict=True)]
        told = yield from answers(*requests)
        asked = [
            Citation(hit, answer.text, _certainty(answer), index.thumbnail(hit), None, page)
            for hit, page, answer in zip(hits, pages, told, strict=True)
        ]
        cited, others, certainty = merged(asked)
        placed = []
        for citation in cited:
            box = yield from self._place(citation)
            placed.append(replace(citation, box=box))
        text, name = cited[0].answer, told[0].model
        return DocumentAnswer(text, certainty, tuple(placed), tuple(others), name)

    def _request(self, hit: Hit, page: ImageRef) -> Request:
        words = self.words
        if self.with_text and hit.snippet:
            words = SAYS.format(question=words, text=hit.snippet)
        if self.short:
            words = choosing.short(words)
        request = question(words, page, max_tokens=self.max_tokens)
        sampling = replace(request.sampling, logprobs=self.weighed)
        return replace(request, sampling=sampling)

    def _place(self, citation: Citation) -> Plan[Box | None]:
        """Find by the text layer, which is exact, or else have the model look for the thing."""
        thing = citation.answer if self.thing is None else self.thing
        box = self.index.locate(citation.hit, thing)
        if box is not None or self.thing is None:
            return box
        album = Album()
        handle = album.add(citation.picture)
        located = yield from locate.plan(LocateArguments(image=handle, thing=thing), album)
        return located.box if located.certainty >= CERTAIN else None


def merged(asked: Sequence[Citation]) -> tuple[list[Citation], list[Citation], float]:
    """Return the pages that gave the answer of most weight, the others, and its certainty.

    An answer's probability is the sum over the pages of the page's (its share in the scores) times
    that of the answer given the page, as in RAG-Sequence (Lewis et al. 2020).
    """
    weights: dict[str, float] = {}
    total = sum(citation.hit.score for citation in asked) or 1.0
    for citation in asked:
        key = plain(citation.answer)
        share = citation.hit.score / total * citation.certainty
        weights[key] = weights.get(key, 0.0) + share
    best = max(weights, key=lambda key: (bool(key), weights[key]))
    cited = [citation for citation in asked if plain(citation.answer) == best]
    others = [citation for citation in asked if plain(citation.answer) != best]
    return cited, others, round(weights[best], 3)


def _certainty(answer: Answer) -> float:
    """Return the geometric mean of the tokens' probabilities; 1 where none were asked for."""
    if not answer.logprobs:
        return 1.0
    mean = sum(token.logprob for token in answer.logprobs) / len(answer.logprobs)
    return round(math.exp(mean), 3)


def _named(citation: Citation) -> str:
    return f"{Path(citation.document).name}, page {citation.page}"


def _figure(citation: Citation) -> str:
    data = base64.b64encode(citation._repr_png_()).decode()
    caption = html.escape(_named(citation))
    snippet = html.escape(citation.snippet)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{caption}">'
        f"<figcaption>{caption}<br><small>{snippet}</small></figcaption></figure>"
    )
