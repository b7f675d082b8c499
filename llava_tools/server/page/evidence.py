"""`POST /llava/evidence`: which part of an image an answer depends on, drawn for the page."""

from __future__ import annotations

import base64
import io
from typing import Any

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llava_tools.evidence import EvidenceMap, ameasure, check_image_index
from llava_tools.server.bodies import read_body
from llava_tools.server.errors import InvalidFieldError
from llava_tools.server.generation import check_images
from llava_tools.server.openai.chat_body import ConversationBody
from llava_tools.server.page.work import run_work
from llava_tools.server.service import Service


class EvidenceBody(ConversationBody):
    """The body of `POST /llava/evidence`: a conversation up to an answer, and the answer.

    Attributes:
        answer: The whole answer.
        image_index: Which of the conversation's images is mapped, from 0.
    """

    answer: str = Field(min_length=1, max_length=20_000)
    image_index: int = 0


async def _measure(http: HttpRequest) -> Response:
    """Return the part of an image that an answer depends on, and a drawing of it."""
    service: Service = http.app.state.service
    user = http.state.user
    body = await read_body(http, EvidenceBody)
    if body.model is not None:
        service.check_model(body.model)
    request = await run_in_threadpool(body.to_request, user)
    check_images(request, service.options.max_images)
    check_image_index(request, body.image_index)
    answer = body.answer.strip()
    if not answer:
        raise InvalidFieldError("The answer is blank.", "Send what the model answered.", "answer")
    found = await run_work(
        http, lambda: ameasure(lambda: service.model.backend, request, answer, body.image_index)
    )
    return JSONResponse(await run_in_threadpool(_describe, found))


def _describe(found: EvidenceMap) -> dict[str, Any]:
    drawing = io.BytesIO()
    found.draw().save(drawing, "PNG")
    return {
        "object": "llava.evidence",
        "answer": found.answer,
        "logprob": found.logprob,
        "image": found.image.handle,
        "size": list(found.image.size),
        "box": None if found.region is None else list(found.region),
        "values": [list(row) for row in found.values],
        "drawing": f"data:image/png;base64,{base64.b64encode(drawing.getvalue()).decode()}",
    }


ROUTES = [Route("/llava/evidence", _measure, methods=["POST"])]
