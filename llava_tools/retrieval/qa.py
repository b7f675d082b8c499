"""Question answering over an index: searches pages, questions each, and merges their answers.

    result = ask(PageIndex("my-index"), "How often is the machine to be descaled?", Llava("7b"))
    result.text, result.citations[0].document, result.citations[0].page

LLaVA 1.5 was trained on one image per prompt, so each page gets a prompt of its own, in one batch;
with all pages in one prompt, right answers were far fewer (`llava_tools.tools.compare`). Equal
answers count together: each by its page's rank and its own certainty. The result cites the pages
with the best answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from typing import Unpack

from llava_tools.core import streaming
from llava_tools.core.outputs import Chunk, check_complete
from llava_tools.core.requests import Request
from llava_tools.model import Llava
from llava_tools.retrieval.answers import DocumentAnswer
from llava_tools.retrieval.index import PageIndex
from llava_tools.retrieval.question import AskOptions, DocumentQuestion
from llava_tools.tools.requests import arun_requests, run_requests


def ask(
    index: PageIndex, question: str, model: Llava | None = None, **options: Unpack[AskOptions]
) -> DocumentAnswer:
    """Answer a question from the pages of an index.

    The model runs in this process or behind `base_url`; by default it is the embedded model. If the
    documents do not answer the question, the answer has no citations and says so. Files that are
    gone or changed are skipped, and listed in the answer.

    Raises:
        RequestError: An impossible question or option.
        DocumentError: Each matching page's file is gone, has changed, or cannot be used.
        IndexStoreError: There is no index there.
        ModelError: The model or the embedder cannot be loaded.
        EngineError: The engine could not finish; a `ServerError` if `zoom=True` and the server
            does not report log-probabilities of prompts.
    """
    request = DocumentQuestion.of(index, question, options)
    model = model or Llava()
    return run_requests(model, request.answer(model))


async def aask(
    index: PageIndex, question: str, model: Llava | None = None, **options: Unpack[AskOptions]
) -> DocumentAnswer:
    """`ask` without blocking the event loop; cancelling the task stops the generation."""
    request = DocumentQuestion.of(index, question, options)
    model = model or Llava()
    return await arun_requests(model, request.answer(model))


def stream(
    index: PageIndex, question: str, model: Llava | None = None, **options: Unpack[AskOptions]
) -> Generator[str | DocumentAnswer]:
    """`ask` as a stream: the answer's text in parts, then the `DocumentAnswer` with its citations.

    An answer in sentences (`short=False`) comes as it is generated. A short one comes at once: it
    is chosen among those of all pages. Closing the stream stops the generation.
    """
    return _stream(DocumentQuestion.of(index, question, options), model or Llava())


def _stream(question: DocumentQuestion, model: Llava) -> Generator[str | DocumentAnswer]:
    answer = run_requests(model, question.decide(model))
    request = question.long_request(answer, model)
    if request is None:
        yield answer.text
    else:
        chunks: list[Chunk] = []
        with closing(model.backend.stream(request)) as generated:
            for chunk in generated:
                chunks.append(chunk)
                yield chunk.text
        check_complete(chunks)
        answer = question.with_text(answer, "".join(chunk.text for chunk in chunks))
    yield answer


async def astream(
    index: PageIndex, question: str, model: Llava | None = None, **options: Unpack[AskOptions]
) -> AsyncGenerator[str | DocumentAnswer]:
    """`stream` without blocking the event loop; leaving the iteration stops the generation."""
    document_question = DocumentQuestion.of(index, question, options)
    llava = model or Llava()
    answer = await arun_requests(llava, document_question.decide(llava))
    request: Request | None = await asyncio.to_thread(document_question.long_request, answer, llava)
    if request is None:
        yield answer.text
    else:
        chunks: list[Chunk] = []
        async with aclosing(streaming.astream(lambda: llava.backend, request)) as generated:
            async for chunk in generated:
                chunks.append(chunk)
                yield chunk.text
        check_complete(chunks)
        text = "".join(chunk.text for chunk in chunks)
        answer = await asyncio.to_thread(document_question.with_text, answer, text)
    yield answer
