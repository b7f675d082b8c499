"""`DocumentQuestion`: a question to an index, as a generator of requests to the model.

It searches, questions each page, merges the answers, decides whether the pages answer the question
at all, and finds the answer's place. Files that are gone or changed are skipped; the search goes
deeper for others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypedDict

from llava_tools import label_scoring
from llava_tools.core.backend import Backend, reports_logprobs, scores_labels
from llava_tools.core.outputs import Answer
from llava_tools.core.requests import Request
from llava_tools.errors import DocumentError, ImageError, RequestError, refuse_unknown
from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.model import Llava
from llava_tools.retrieval.answers import NOT_FOUND, Citation, DocumentAnswer
from llava_tools.retrieval.claims import find_claims, locate_text
from llava_tools.retrieval.evidence import MIN_EVIDENCE, text_evidence
from llava_tools.retrieval.files import Skipped
from llava_tools.retrieval.index import PageIndex
from llava_tools.retrieval.merging import merge_answers
from llava_tools.retrieval.passages import choose_passages, has_words, make_answer_snippet
from llava_tools.retrieval.search import Hit, SearchMode
from llava_tools.retrieval.tiling import answer_with_tiles, certainty, statement
from llava_tools.tools.geometry import Box
from llava_tools.tools.locate import LocateArguments, locate
from llava_tools.tools.requests import RequestGenerator, build_request, get_answers

#: Prompt with a page's text, as in LLaVA 1.5's training data (TextCaps, TextVQA).
PROMPT_WITH_TEXT = "{question}\nReference OCR token: {text}"
#: The most tokens of a page's text in a prompt, and its largest share of the context: more costs
#: seconds per page on a CPU, and the image, the question and the answer need the rest.
MAX_TEXT_TOKENS = 512
MAX_TEXT_SHARE = 0.25
#: The embedded model: a text beside the image confuses it (`benchmarks.drawn_documents --text`).
IMAGES_ONLY = "llava-tools/tiny"
#: Certainty from which a box that the model located is used.
MIN_LOCATE_CERTAINTY = 0.5
#: How many times as deep a search goes, at most, to replace files that cannot be used.
MAX_DEPTH = 8


class AskOptions(TypedDict, total=False):
    """Options of `ask`, with their defaults in parentheses.

    Attributes:
        k: How many pages are questioned (3).
        mode: `mode` of `PageIndex.search` ("hybrid").
        rerank: Whether the model looks at 3 k pages to choose them (False).
        target: What the boxes enclose; None for the answer's own words (None).
        short: Whether the answer is to be a word or a phrase. If not, the best page is asked once
            more for an answer in sentences (True).
        with_text: Whether the prompt has the passages of the page's text that fit the question
            best, beside the image; pages without a text have none. None: it has, except for the
            embedded model, which has not learned to read it (None).
        use_logprobs: Whether answers count by the model's log-probabilities. None: they do, unless
            the model is behind a server that does not report them (None).
        zoom: Whether a page that does not show its answer is questioned again in tiles. This takes
            a dozen requests, and needs `use_logprobs` and scores of labels. None: it is, unless the
            model is behind a server that does not report them (None).
        min_evidence: The least share of the question, 0 to 1, that the texts of the pages must
            have in one passage (`evidence.text_evidence`); with less, the answer is that it is not
            in these documents. It counts if the model reads the text of each page; 0 to answer in
            any case (0.36).
        max_tokens: Of an answer (64; 512 if not `short`).
    """

    k: int
    mode: SearchMode
    rerank: bool
    target: str | None
    short: bool
    with_text: bool | None
    use_logprobs: bool | None
    zoom: bool | None
    min_evidence: float
    max_tokens: int


#: The most tokens of a short answer, and of one in sentences.
SHORT_MAX_TOKENS, LONG_MAX_TOKENS = 64, 512

_DEFAULTS = AskOptions(
    k=3,
    mode="hybrid",
    rerank=False,
    target=None,
    short=True,
    with_text=None,
    use_logprobs=None,
    zoom=None,
    min_evidence=MIN_EVIDENCE,
    max_tokens=SHORT_MAX_TOKENS,
)


@dataclass(frozen=True)
class DocumentQuestion:
    """A question to an index, with all options."""

    index: PageIndex
    question: str
    options: AskOptions

    @classmethod
    def of(cls, index: PageIndex, question: str, options: AskOptions) -> DocumentQuestion:
        """Check the options and fill in their defaults; `RequestError` if one is impossible."""
        refuse_unknown(options, _DEFAULTS, "ask")
        target = options.get("target")
        if target is not None and not target.strip():
            raise RequestError(
                f"target={target!r} is blank.", "Name what to put the boxes around, or pass None."
            )
        filled = _DEFAULTS | options
        least = filled["min_evidence"]
        if isinstance(least, bool) or not isinstance(least, int | float) or not 0 <= least <= 1:
            raise RequestError(f"min_evidence={least!r} is not possible.", "Use 0 to 1.")
        if not filled["short"]:
            filled["max_tokens"] = options.get("max_tokens", LONG_MAX_TOKENS)
        return cls(index, question, filled)

    def answer(self, model: Llava) -> RequestGenerator[DocumentAnswer]:
        """Return the whole answer."""
        answer = yield from self.decide(model)
        request = self.long_request(answer, model)
        if request is None:
            return answer
        (long,) = yield from get_answers(request)
        return self.with_text(answer, long.text)

    def with_text(self, answer: DocumentAnswer, text: str) -> DocumentAnswer:
        """Return an answer in sentences, with the source of each."""
        answer = replace(answer, text=text)
        return replace(answer, claims=find_claims(self.index, answer))

    def decide(self, model: Llava) -> RequestGenerator[DocumentAnswer]:
        """Return the short answer, with the pages and places that it comes from."""
        return (yield from self._for_backend(model.backend)._decide(model))

    def _for_backend(self, backend: Backend) -> DocumentQuestion:
        """Return the question with options that the backend can meet, where they are not set."""
        options = self.options
        if (use_logprobs := options["use_logprobs"]) is None:
            use_logprobs = options["zoom"] is True or reports_logprobs(backend)
        if (zoom := options["zoom"]) is None:
            zoom = use_logprobs and scores_labels(backend)
        chosen: AskOptions = {**options, "use_logprobs": use_logprobs, "zoom": zoom}
        return replace(self, options=chosen)

    def _decide(self, model: Llava) -> RequestGenerator[DocumentAnswer]:
        pages, skipped = self._open_pages(model)
        if not pages:
            return DocumentAnswer(NOT_FOUND, 0.0, (), (), model.backend.model_name, skipped)
        texts = [self._passages(hit, model) for hit, _ in pages]
        if not self._has_evidence([hit for hit, _ in pages], texts):
            return DocumentAnswer(NOT_FOUND, 0.0, (), (), model.backend.model_name, skipped)
        requests = [self._request(page, text) for (_, page), text in zip(pages, texts, strict=True)]
        page_answers = yield from get_answers(*requests)
        citations = []
        for (hit, page), text, whole in zip(pages, texts, page_answers, strict=True):
            citations.append((yield from self._cite(hit, page, whole, has_words(text, whole.text))))
        cited, others, probability = merge_answers(citations)
        located = []
        for citation in cited:
            box = yield from self._locate(citation)
            located.append(replace(citation, box=box or citation.box))
        text, name = cited[0].answer, page_answers[0].model
        return DocumentAnswer(text, probability, tuple(located), tuple(others), name, skipped)

    def long_request(self, answer: DocumentAnswer, model: Llava) -> Request | None:
        """Return the request for the answer in sentences, from the best page; None without one."""
        if self.options["short"] or not answer.is_found:
            return None
        best = answer.citations[0]
        text = self._with_text(self._passages(best.hit, model))
        return build_request(text, best.image, max_tokens=self.options["max_tokens"])

    def _open_pages(self, model: Llava) -> tuple[list[tuple[Hit, ImageRef]], tuple[Skipped, ...]]:
        """Search, and open the `k` best pages that can be used; `DocumentError` if all cannot."""
        options, count = self.options, self.options["k"]
        rerank = model if options["rerank"] else None
        depth, pages = count, list[tuple[Hit, ImageRef]]()
        errors: dict[str, DocumentError | ImageError] = {}
        while True:
            hits = self.index.search(
                self.question, depth, mode=options["mode"], rerank=rerank, min_coverage=0
            )
            opened = {(hit.digest, hit.page) for hit, _ in pages}
            for hit in hits:
                is_new = (hit.digest, hit.page) not in opened and hit.document not in errors
                if is_new and len(pages) < count:
                    try:
                        pages.append((hit, self.index.open(hit)))
                    except (DocumentError, ImageError) as error:
                        errors[hit.document] = error
            enough = len(pages) == count or len(hits) < depth
            if enough or rerank or 2 * depth > min(MAX_DEPTH * count, 1000):
                break
            depth *= 2
        if errors and not pages:
            raise next(iter(errors.values()))
        return pages, tuple(Skipped.from_error(path, error) for path, error in errors.items())

    def _has_evidence(self, hits: Sequence[Hit], texts: Sequence[str]) -> bool:
        """Return whether the pages can answer the question, as far as their texts show it.

        They show it only if the model reads them and all pages have one.
        """
        least = self.options["min_evidence"]
        if least == 0 or not all(texts):
            return True
        return text_evidence(self.index, self.question, hits) >= least

    def _cite(
        self, hit: Hit, page: ImageRef, whole: Answer, is_written: bool
    ) -> RequestGenerator[Citation]:
        """Return a page's answer: that to the whole page, or to a tile if the page is unclear.

        An answer that `is_written` in the text that the model read needs no tiles.
        """
        options, answer, tile = self.options, whole, None
        if options["zoom"] and options["use_logprobs"] and not is_written:
            answer, tile = yield from answer_with_tiles(
                page,
                whole,
                partial(self._request, passages=""),
                lambda text: options["target"] or statement(self.question, text),
            )
        return Citation(
            hit,
            answer.text,
            round(certainty(answer), 3),
            self.index.thumbnail(hit),
            tile,
            page,
            make_answer_snippet(hit.text, answer.text, self.question) or hit.snippet,
        )

    def _passages(self, hit: Hit, model: Llava) -> str:
        """Return the parts of a page's text for the prompt; empty if it is to have none."""
        with_text = self.options["with_text"]
        if with_text is None:
            with_text = model.backend.model_name != IMAGES_ONLY
        tokens = min(MAX_TEXT_TOKENS, int(model.backend.context_length * MAX_TEXT_SHARE))
        return choose_passages(hit.text, self.question, tokens) if with_text else ""

    def _with_text(self, passages: str) -> str:
        if not passages:
            return self.question
        return PROMPT_WITH_TEXT.format(question=self.question, text=passages)

    def _request(self, page: ImageRef, passages: str) -> Request:
        text = label_scoring.short_answer_question(self._with_text(passages))
        max_tokens = self.options["max_tokens"] if self.options["short"] else SHORT_MAX_TOKENS
        request = build_request(text, page, max_tokens=max_tokens)
        sampling = replace(request.sampling, logprobs=bool(self.options["use_logprobs"]))
        return replace(request, sampling=sampling)

    def _locate(self, citation: Citation) -> RequestGenerator[Box | None]:
        """Find the target by the text layer, which is exact, or else by the model."""
        target = self.options["target"]
        box = locate_text(self.index, citation.hit, target or citation.answer)
        if box is not None or target is None:
            return box
        resolver = ImageResolver()
        arguments = LocateArguments(image=resolver.add(citation.image), thing=target)
        located = yield from locate.function(arguments, resolver)
        return located.box if located.certainty >= MIN_LOCATE_CERTAINTY else None
