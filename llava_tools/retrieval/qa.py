"""Questions over an index: pages are found, each is asked, and their answers are merged.

    found = ask(PageIndex("my-index"), "How often is the machine to be descaled?", Llava("7b"))
    found.text, found.citations[0].document, found.citations[0].page

LLaVA 1.5 was trained on one image a prompt, so every page is asked by itself, in one batch, which
told right far more often than all in one prompt (`llava_tools.tools.compare`). Equal answers count
together: each by its page's rank and by how sure the model was of it. The pages that gave the
answer are what it cites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypedDict, Unpack

from llava_tools import label_scoring
from llava_tools.core.outputs import Answer
from llava_tools.core.requests import Request
from llava_tools.errors import DocumentError, RequestError, refuse_unknown
from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.model import Llava
from llava_tools.retrieval.answers import Citation, DocumentAnswer
from llava_tools.retrieval.index import PageIndex
from llava_tools.retrieval.search import Hit, Mode
from llava_tools.retrieval.tiling import closer, shown_by
from llava_tools.tools.compare import plain
from llava_tools.tools.geometry import Box
from llava_tools.tools.locate import LocateArguments, locate
from llava_tools.tools.spec import Plan, acarry_out, answers, carry_out, question

#: How LLaVA 1.5 was told in training what an image says (TextCaps, TextVQA).
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
    use_logprobs: bool
    zoom: bool
    max_tokens: int


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
            beside the image; `use_logprobs` (True), whether answers count by the model's
            log-probabilities, which not every server reports; `zoom` (True, where answers are
            weighed), whether a page that does not show what was answered is asked once more in
            parts, which takes a dozen questions and, of servers, log-probabilities of prompts
            (vLLM's); `max_tokens` of an answer (64).

    Raises:
        RequestError: An impossible question or option.
        DocumentError: No page was found, or a page's file is gone or has changed since.
        IndexStoreError: There is no index there.
        ModelError: The model or the embedder cannot be loaded.
        EngineError: The engine could not finish; a `ServerError` where the server reports no
            log-probabilities of prompts, until `zoom=False`.
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
    use_logprobs: bool = True
    zoom: bool = True
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
        asked = []
        for hit, page, answer in zip(hits, pages, told, strict=True):
            said, part = answer, None
            if self.zoom and self.use_logprobs:
                said, part = yield from closer(
                    page, answer, partial(self._request, hit), self._shows
                )
            thumbnail = index.thumbnail(hit)
            asked.append(Citation(hit, said.text, _certainty(said), thumbnail, part, page))
        cited, others, certainty = merged(asked)
        placed = []
        for citation in cited:
            box = yield from self._place(citation)
            placed.append(replace(citation, box=box or citation.box))
        text, name = cited[0].answer, told[0].model
        return DocumentAnswer(text, certainty, tuple(placed), tuple(others), name)

    def _request(self, hit: Hit, page: ImageRef) -> Request:
        words = self.words
        if self.with_text and hit.snippet:
            words = SAYS.format(question=words, text=hit.snippet)
        if self.short:
            words = label_scoring.short(words)
        request = question(words, page, max_tokens=self.max_tokens)
        sampling = replace(request.sampling, logprobs=self.use_logprobs)
        return replace(request, sampling=sampling)

    def _shows(self, answer: str) -> str:
        """What an image shows that gives an answer."""
        return shown_by(self.words, answer) if self.thing is None else self.thing

    def _place(self, citation: Citation) -> Plan[Box | None]:
        """Find by the text layer, which is exact, or else have the model look for the thing."""
        thing = citation.answer if self.thing is None else self.thing
        box = self.index.locate(citation.hit, thing)
        if box is not None or self.thing is None:
            return box
        resolver = ImageResolver()
        handle = resolver.add(citation.image)
        located = yield from locate.plan(LocateArguments(image=handle, thing=thing), resolver)
        return located.box if located.certainty >= CERTAIN else None


def merged(asked: Sequence[Citation]) -> tuple[list[Citation], list[Citation], float]:
    """Return the pages that gave the answer of most weight, the others, and its certainty.

    An answer's probability is the sum over the pages of the page's times that of the answer given
    the page, as in RAG-Sequence (Lewis et al. 2020). A page's falls with the square of its rank:
    of 36 questions (`benchmarks.pages`, `tuning`), the first page was right in 25, the second in 4,
    the third in 1. The search's scores are about ranks themselves and say less.

    Args:
        asked: Best page first.
    """
    weights: dict[str, float] = {}
    total = sum(rank**-2 for rank in range(1, len(asked) + 1))
    for rank, citation in enumerate(asked, start=1):
        key = plain(citation.answer)
        weights[key] = weights.get(key, 0.0) + rank**-2 / total * citation.certainty
    best = max(weights, key=lambda key: (bool(key), weights[key]))
    cited = [citation for citation in asked if plain(citation.answer) == best]
    others = [citation for citation in asked if plain(citation.answer) != best]
    return cited, others, round(weights[best], 3)


def _certainty(answer: Answer) -> float:
    return round(label_scoring.certainty([token.logprob for token in answer.logprobs]), 3)
