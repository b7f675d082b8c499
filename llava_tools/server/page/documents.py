"""`/llava/documents/...`: questions and searches over the service's index, and its pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Annotated, Any

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llava_tools.errors import LlavaToolsError
from llava_tools.images.ref import is_handle
from llava_tools.retrieval import Citation, DocumentAnswer, Hit, PageIndex, astream
from llava_tools.retrieval.search import SearchMode
from llava_tools.server.bodies import Body, read_body
from llava_tools.server.errors import InvalidFieldError
from llava_tools.server.generation import started
from llava_tools.server.openai.events import EventStream, encode_event, error_body
from llava_tools.server.page.work import run_work, stream_work
from llava_tools.server.service import Service
from llava_tools.tools.display import draw_box
from llava_tools.tools.find import document_names
from llava_tools.tools.geometry import Box, clip_box

#: Pixels of the longer side of a page's image.
MAX_SIDE = 1600
_IMAGE_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=300"}


Text = Annotated[str, Field(min_length=1, max_length=2000)]
Count = Annotated[int, Field(ge=1, le=10)]


class AskBody(Body):
    """A question to the documents.

    Attributes:
        question: What the documents are to answer.
        k: How many pages the model looks at.
        sentences: Answer in sentences instead of a word or phrase.
    """

    question: Text
    k: Count = 3
    sentences: bool = False


class SearchBody(Body):
    """What to look for in the documents.

    Attributes:
        query: Words; phrases in quotation marks must be on the page.
        k: How many pages at most.
        mode: See `PageIndex.search`.
    """

    query: Text
    k: Count = 5
    mode: SearchMode = "hybrid"


async def _ask(http: HttpRequest) -> Response:
    """Stream the text of an answer, then the answer with its citations."""
    service: Service = http.app.state.service
    index = _index(service)
    body = await read_body(http, AskBody)
    answer = stream_work(
        service,
        http.state.user,
        lambda: astream(index, body.question, service.model, k=body.k, short=not body.sentences),
    )
    return EventStream(_events(await started(http, answer)))


async def _events(stream: AsyncGenerator[str | DocumentAnswer]) -> AsyncGenerator[bytes]:
    """Yield `delta`s, then `answer`; or `error` if it comes after the beginning."""
    async with aclosing(stream):
        try:
            async for item in stream:
                if isinstance(item, str):
                    yield encode_event({"type": "delta", "text": item})
                else:
                    yield encode_event({"type": "answer", "answer": describe_answer(item)})
        except LlavaToolsError as error:
            yield encode_event({"type": "error", **error_body(error)})


async def _search(http: HttpRequest) -> Response:
    """Return the pages that match."""
    service: Service = http.app.state.service
    index = _index(service)
    body = await read_body(http, SearchBody)

    async def search() -> list[Hit]:
        return await run_in_threadpool(index.search, body.query, body.k, mode=body.mode)

    hits = await run_work(http, search)
    names = document_names(hit.document for hit in hits)
    return JSONResponse({"pages": [_describe_hit(hit, names) for hit in hits]})


async def _show_page(http: HttpRequest) -> Response:
    """Return a page's image: a PNG, with a frame around `?box=x1,y1,x2,y2` (0 to 1), or small."""
    service: Service = http.app.state.service
    index = _index(service)
    handle = http.path_params["handle"]
    hit = await run_in_threadpool(index.find_page, handle) if is_handle(handle) else None
    if hit is None:
        raise HTTPException(404, f"The index has no page {handle:.60}. Search again.")
    if http.query_params.get("size") == "thumbnail":
        thumbnail = await run_in_threadpool(index.thumbnail, hit)
        return Response(thumbnail, media_type="image/jpeg", headers=_IMAGE_HEADERS)
    edges = read_edges(http.query_params.get("box"))
    png = await run_in_threadpool(_draw, index, hit, edges)
    return Response(png, media_type="image/png", headers=_IMAGE_HEADERS)


def read_edges(text: str | None) -> tuple[float, float, float, float] | None:
    """Return a box of a query: four numbers from 0 to 1 with commas between them.

    Raises:
        InvalidFieldError: It is something else.
    """
    if text is None:
        return None
    try:
        x1, y1, x2, y2 = map(float, text.split(","))
    except ValueError:
        x1, y1, x2, y2 = 1.0, 1.0, 0.0, 0.0
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise InvalidFieldError(
            f"box={text!r:.60} is not possible.", "Use x1,y1,x2,y2 from 0 to 1.", "box"
        )
    return x1, y1, x2, y2


def _draw(index: PageIndex, hit: Hit, edges: tuple[float, float, float, float] | None) -> bytes:
    image = index.open(hit)
    box: Box | None = None
    if edges is not None:
        corners = [round(edge * image.size[i % 2]) for i, edge in enumerate(edges)]
        box = clip_box(corners, image.size)
    return draw_box(image, box, MAX_SIDE)


def describe_answer(answer: DocumentAnswer) -> dict[str, Any]:
    """Return an answer as JSON, each page with its short name and the addresses of its images."""
    every = (*answer.citations, *answer.claims, *answer.others)
    skipped = [skip.document for skip in answer.skipped]
    names = document_names([citation.document for citation in every] + skipped)

    def describe(citations: Iterable[Citation]) -> list[dict[str, Any]]:
        return [c.as_dict() | _links(c.hit, names) for c in citations]

    return answer.as_dict() | {
        "citations": describe(answer.citations),
        "claims": describe(answer.claims),
        "others": describe(answer.others),
        "skipped": [
            {"document": skip.document, "name": names[skip.document], "reason": skip.reason}
            for skip in answer.skipped
        ],
    }


def _describe_hit(hit: Hit, names: dict[str, str]) -> dict[str, Any]:
    return hit.as_dict() | {"size": list(hit.size)} | _links(hit, names)


def _links(hit: Hit, names: dict[str, str]) -> dict[str, str]:
    page = f"/llava/documents/pages/{hit.handle}"
    return {
        "name": names[hit.document],
        "image_url": page,
        "thumbnail_url": f"{page}?size=thumbnail",
    }


def _index(service: Service) -> PageIndex:
    if service.index is None:
        raise HTTPException(404, "This server has no documents. Start it with --index DIR.")
    return service.index


ROUTES = [
    Route("/llava/documents/ask", _ask, methods=["POST"]),
    Route("/llava/documents/search", _search, methods=["POST"]),
    Route("/llava/documents/pages/{handle}", _show_page),
]
