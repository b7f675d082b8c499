"""ask_documents: answers a question from the pages of an index, with the places it comes from."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.model import Llava
from llava_tools.retrieval import Citation, DocumentAnswer, PageIndex
from llava_tools.retrieval.question import AskOptions, DocumentQuestion
from llava_tools.tools.display import ImageResult
from llava_tools.tools.find import document_names
from llava_tools.tools.geometry import Box
from llava_tools.tools.requests import RequestGenerator
from llava_tools.tools.spec import Text, ToolArguments, VisualTool


class AskDocumentsArguments(ToolArguments):
    """A question to the documents."""

    question: Text = Field(description="What the documents are to answer.")
    k: int = Field(3, ge=1, le=10, description="How many pages to look at.")
    sentences: bool = Field(False, description="Answer in sentences, not in a word or phrase.")


class CitedPage(BaseModel):
    """A page that an answer comes from.

    Attributes:
        image: Handle of the page's image.
        document: Name of the file, with as much of its folders as parts it from other files.
        page: Its number from 1.
        text: What this page answers; of an answer in sentences, the sentence that it supports.
        snippet: The part of the page's text with the answer; empty without a text.
        certainty: Of `text`, 0 to 1.
        box: Place of the answer in pixels of the page's image: x1, y1, x2, y2, from the top left
            corner; None if it is not known.
        normalized_box: The same as fractions, 0 to 1, of the page's width and height.
        width, height: Of the page's image, in pixels.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    document: str
    page: int
    text: str
    snippet: str = ""
    certainty: float
    box: Box | None = None
    normalized_box: tuple[float, float, float, float] | None = None
    width: int
    height: int


class AskDocumentsResult(ImageResult):
    """The answer, and the pages it comes from, best first; none if the documents have no answer.

    Attributes:
        answer: The answer.
        certainty: Of the answer over all pages, 0 to 1.
        citations: The pages with this answer.
        claims: For an answer in sentences, the page that supports each.
        skipped: Names of files among the matches that are gone, changed or unusable.
    """

    answer: str
    certainty: float
    citations: tuple[CitedPage, ...] = ()
    claims: tuple[CitedPage, ...] = ()
    skipped: tuple[str, ...] = ()

    _pages: tuple[tuple[ImageRef, Box | None], ...] = PrivateAttr(())

    @property
    def shown(self) -> tuple[str | None, Box | None]:
        """See `ImageResult.shown`."""
        first = next(iter(self.citations), None)
        return (None, None) if first is None else (first.image, first.box)

    @property
    def displayed(self) -> Sequence[tuple[ImageRef, Box | None]]:
        """The pages with the answer, each with its place."""
        return self._pages


def make_ask_documents(
    index: PageIndex, model: Llava
) -> VisualTool[AskDocumentsArguments, AskDocumentsResult]:
    """Return the tool for an index, whose pages `model` looks at."""

    def ask(
        arguments: AskDocumentsArguments, resolver: ImageResolver
    ) -> RequestGenerator[AskDocumentsResult]:
        options = AskOptions(k=arguments.k, short=not arguments.sentences)
        question = DocumentQuestion.of(index, arguments.question, options)
        answer = yield from question.answer(model)
        return _result(answer, resolver)

    return VisualTool(
        "ask_documents",
        "Answer a question from the documents: gives the answer and, for each page that it comes "
        "from, its document, page number, text, and the box [x1, y1, x2, y2] of the place on the "
        "page's image. Without a citation, the documents do not answer the question.",
        AskDocumentsArguments,
        ask,
    )


def _result(answer: DocumentAnswer, resolver: ImageResolver) -> AskDocumentsResult:
    everything = (*answer.citations, *answer.claims)
    names = document_names([c.document for c in everything] + [s.document for s in answer.skipped])

    def cite(citation: Citation) -> CitedPage:
        width, height = citation.image.size
        return CitedPage(
            image=resolver.add(citation.image),
            document=names[citation.document],
            page=citation.page,
            text=citation.answer,
            snippet=citation.snippet,
            certainty=round(citation.certainty, 3),
            box=citation.box,
            normalized_box=citation.normalized_box,
            width=width,
            height=height,
        )

    result = AskDocumentsResult(
        answer=answer.text,
        certainty=round(answer.certainty, 3),
        citations=tuple(map(cite, answer.citations)),
        claims=tuple(map(cite, answer.claims)),
        skipped=tuple(names[skip.document] for skip in answer.skipped),
    )
    result._pages = tuple((citation.image, citation.box) for citation in answer.citations)
    return result
