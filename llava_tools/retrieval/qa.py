"""Question answering over an index: searches pages, questions each, and merges their answers.

    result = ask(PageIndex("my-index"), "How often is the machine to be descaled?", Llava("7b"))
    result.text, result.citations[0].document, result.citations[0].page

LLaVA 1.5 was trained on one image per prompt, so each page gets a prompt of its own, in one batch;
with all pages in one prompt, right answers were far fewer (`llava_tools.tools.compare`). Equal
answers count together: each by its page's rank and its own certainty. The result cites the pages
with the best answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypedDict, Unpack

from llava_tools import label_scoring
from llava_tools.core.requests import Request
from llava_tools.errors import DocumentError, RequestError, refuse_unknown
from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.model import Llava
from llava_tools.retrieval.answers import Citation, DocumentAnswer
from llava_tools.retrieval.index import PageIndex
from llava_tools.retrieval.search import Hit, SearchMode
from llava_tools.retrieval.tiling import answer_with_tiles, certainty, statement
from llava_tools.tools.compare import normalize_answer
from llava_tools.tools.geometry import Box
from llava_tools.tools.locate import LocateArguments, locate
from llava_tools.tools.requests import (
    RequestGenerator,
    arun_requests,
    build_request,
    get_answers,
    run_requests,
)

#: Prompt with a page's text, as in LLaVA 1.5's training data (TextCaps, TextVQA).
PROMPT_WITH_TEXT = "{question}\nReference OCR token: {text}"
#: Certainty from which a box that the model located is used.
MIN_LOCATE_CERTAINTY = 0.5


class AskOptions(TypedDict, total=False):
    """Options of `ask`, with their defaults in parentheses.

    Attributes:
        k: How many pages are questioned (3).
        mode: `mode` of `PageIndex.search` ("hybrid").
        rerank: Whether the model looks at 3 k pages to choose them (False).
        target: What the boxes enclose; None for the answer's own words (None).
        short: Whether the answer is to be a word or a phrase (True).
        with_text: Whether the prompt has each page's snippet beside the image (False).
        use_logprobs: Whether answers count by the model's log-probabilities, which not every
            server reports (True).
        zoom: Whether a page that does not show its answer is questioned again in tiles. This takes
            a dozen requests, needs `use_logprobs`, and needs log-probabilities of prompts from a
            server, as vLLM reports them (True).
        max_tokens: Of an answer (64).
    """

    k: int
    mode: SearchMode
    rerank: bool
    target: str | None
    short: bool
    with_text: bool
    use_logprobs: bool
    zoom: bool
    max_tokens: int


_DEFAULTS = AskOptions(
    k=3,
    mode="hybrid",
    rerank=False,
    target=None,
    short=True,
    with_text=False,
    use_logprobs=True,
    zoom=True,
    max_tokens=64,
)


def ask(
    index: PageIndex, question: str, model: Llava | None = None, **options: Unpack[AskOptions]
) -> DocumentAnswer:
    """Answer a question from the pages of an index.

    The model runs in this process or behind `base_url`; by default it is the embedded model.

    Raises:
        RequestError: An impossible question or option.
        DocumentError: No page matches, or a page's file is gone or has changed since.
        IndexStoreError: There is no index there.
        ModelError: The model or the embedder cannot be loaded.
        EngineError: The engine could not finish; a `ServerError` if `zoom` is on and the server
            does not report log-probabilities of prompts.
    """
    request = _DocumentQuestion.of(index, question, options)
    model = model or Llava()
    return run_requests(model, request.generator(model))


async def aask(
    index: PageIndex, question: str, model: Llava | None = None, **options: Unpack[AskOptions]
) -> DocumentAnswer:
    """`ask` without blocking the event loop; cancelling the task stops the generation."""
    request = _DocumentQuestion.of(index, question, options)
    model = model or Llava()
    return await arun_requests(model, request.generator(model))


@dataclass(frozen=True)
class _DocumentQuestion:
    """A question to an index, with all options."""

    index: PageIndex
    question: str
    options: AskOptions

    @classmethod
    def of(cls, index: PageIndex, question: str, options: AskOptions) -> _DocumentQuestion:
        refuse_unknown(options, _DEFAULTS, "ask")
        target = options.get("target")
        if target is not None and not target.strip():
            raise RequestError(
                f"target={target!r} is blank.", "Name what to put the boxes around, or pass None."
            )
        return cls(index, question, _DEFAULTS | options)

    def generator(self, model: Llava) -> RequestGenerator[DocumentAnswer]:
        """Search, question the pages, merge their answers, and locate the best one."""
        index, options, target = self.index, self.options, self.options["target"]
        rerank = model if options["rerank"] else None
        hits = index.search(self.question, options["k"], mode=options["mode"], rerank=rerank)
        if not hits:
            raise DocumentError(
                f"No page matches {self.question!r:.80}.",
                "Index documents first, or use other words.",
            )
        pages = [index.open(hit) for hit in hits]
        requests = [self._request(hit, page) for hit, page in zip(hits, pages, strict=True)]
        page_answers = yield from get_answers(*requests)
        citations = []
        for hit, page, whole in zip(hits, pages, page_answers, strict=True):
            answer, box = whole, None
            if options["zoom"] and options["use_logprobs"]:
                request = partial(self._request, hit)
                answer, box = yield from answer_with_tiles(
                    page, whole, request, lambda text: target or statement(self.question, text)
                )
            thumbnail = index.thumbnail(hit)
            page_certainty = round(certainty(answer), 3)
            citations.append(Citation(hit, answer.text, page_certainty, thumbnail, box, page))
        cited, others, probability = merge_answers(citations)
        located = []
        for citation in cited:
            box = yield from self._locate(citation)
            located.append(replace(citation, box=box or citation.box))
        text, name = cited[0].answer, page_answers[0].model
        return DocumentAnswer(text, probability, tuple(located), tuple(others), name)

    def _request(self, hit: Hit, page: ImageRef) -> Request:
        text = self.question
        if self.options["with_text"] and hit.snippet:
            text = PROMPT_WITH_TEXT.format(question=text, text=hit.snippet)
        if self.options["short"]:
            text = label_scoring.short_answer_question(text)
        request = build_request(text, page, max_tokens=self.options["max_tokens"])
        sampling = replace(request.sampling, logprobs=self.options["use_logprobs"])
        return replace(request, sampling=sampling)

    def _locate(self, citation: Citation) -> RequestGenerator[Box | None]:
        """Find the target by the text layer, which is exact, or else by the model."""
        target = self.options["target"]
        box = self.index.locate(citation.hit, target or citation.answer)
        if box is not None or target is None:
            return box
        resolver = ImageResolver()
        arguments = LocateArguments(image=resolver.add(citation.image), thing=target)
        located = yield from locate.function(arguments, resolver)
        return located.box if located.certainty >= MIN_LOCATE_CERTAINTY else None


def merge_answers(citations: Sequence[Citation]) -> tuple[list[Citation], list[Citation], float]:
    """Return the pages with the most probable answer, the others, and its probability.

    `citations` are ordered, best page first. An answer's probability is a sum over the pages: the
    page's probability times that of the answer on that page, as in RAG-Sequence (Lewis et al.
    2020). A page's probability falls with the square of its rank: of 36 questions
    (`benchmarks.pages`, `tuning`), the first page was right in 25, the second in 4, the third in 1.
    Search scores depend on ranks themselves and say less.
    """
    weights: dict[str, float] = {}
    total = sum(rank**-2 for rank in range(1, len(citations) + 1))
    for rank, citation in enumerate(citations, start=1):
        key = normalize_answer(citation.answer)
        weights[key] = weights.get(key, 0.0) + rank**-2 / total * citation.certainty
    best = max(weights, key=lambda key: (bool(key), weights[key]))
    cited = [citation for citation in citations if normalize_answer(citation.answer) == best]
    others = [citation for citation in citations if normalize_answer(citation.answer) != best]
    return cited, others, round(weights[best], 3)
