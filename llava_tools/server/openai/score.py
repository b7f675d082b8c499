"""`POST /llava/score`: log-probabilities of labels as the answer. OpenAI's API has none for it."""

from __future__ import annotations

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llava_tools.server.bodies import Items, read_body
from llava_tools.server.generation import check_images, run
from llava_tools.server.openai.chat_body import ConversationBody
from llava_tools.server.service import Service


class ScoreBody(ConversationBody):
    """The body of `POST /llava/score`: a conversation, and labels that may answer it."""

    labels: Items[str] = Field(min_length=1, max_length=1000)


async def score(http: HttpRequest) -> Response:
    """Return the natural log-probability of each label as the whole answer."""
    service: Service = http.app.state.service
    user = http.state.user
    body = await read_body(http, ScoreBody)
    if body.model is not None:
        service.check_model(body.model)
    request = await run_in_threadpool(body.to_request, user)
    check_images(request, service.options.max_images)
    scores = await run(service, user, lambda: service.model.backend.score(request, body.labels))
    return JSONResponse({"object": "llava.score", "scores": scores})


ROUTES = [Route("/llava/score", score, methods=["POST"])]
