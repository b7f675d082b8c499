"""`/api/pull` and what changes a library of models: the server has one model, which stays."""

from __future__ import annotations

from typing import ClassVar

from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llava_tools.server.bodies import read_body
from llava_tools.server.ollama.named_body import NamedBody
from llava_tools.server.ollama.names import check_model

_PATHS = {
    "/api/push": ["POST"],
    "/api/create": ["POST"],
    "/api/copy": ["POST"],
    "/api/delete": ["DELETE"],
    "/api/blobs/{digest}": ["POST"],
}


class PullBody(NamedBody):
    """The body of `POST /api/pull`."""

    ignored: ClassVar[frozenset[str]] = frozenset({"insecure", "stream", "username", "password"})


async def pull(http: HttpRequest) -> Response:
    """Succeed for the model that is served; clients pull before the first request."""
    body = await read_body(http, PullBody)
    check_model(http.app.state.service, body.model_name)
    return JSONResponse({"status": "success"}, media_type="application/x-ndjson")


async def refuse(http: HttpRequest) -> Response:
    """Refuse to change which models there are."""
    raise HTTPException(
        403,
        "The model of this server is chosen when it starts and cannot be changed by clients. "
        "Start it with another --model or --model-name.",
    )


ROUTES = [
    Route("/api/pull", pull, methods=["POST"]),
    *(Route(path, refuse, methods=methods) for path, methods in _PATHS.items()),
]
