"""`create_app`: the server as an ASGI application."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from llava_tools import __version__
from llava_tools.embedding import Embedder
from llava_tools.errors import LlavaToolsError
from llava_tools.model import Llava
from llava_tools.server import ollama, openai, page
from llava_tools.server.access import AccessMiddleware
from llava_tools.server.errors import respond_to_error
from llava_tools.server.logs import log_request
from llava_tools.server.metrics import ROUTES as METRICS_ROUTES
from llava_tools.server.metrics import Metrics
from llava_tools.server.openapi import make_route
from llava_tools.server.options import ServerOptions
from llava_tools.server.pacing import PacingMiddleware
from llava_tools.server.recording import RecordMiddleware
from llava_tools.server.service import Service
from llava_tools.server.tracing import span_sink


def create_app(options: ServerOptions, model: Llava, embedder: Embedder | None = None) -> Starlette:
    """Return the server as an ASGI application, which loads the model when it starts.

    Args:
        options: Of the server.
        model: Answers the requests; closed when the application ends.
        embedder: Embeds texts and images; by default the model's vision tower with its CLIP.
    """
    service = Service(options, model, embedder)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        threading.Thread(target=service.load, name="llava-tools-load", daemon=True).start()
        yield
        service.close()

    cors = Middleware(
        CORSMiddleware,
        allow_origins=options.allowed_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
    )
    access = Middleware(AccessMiddleware, options=options, users=service.users)
    pacing = Middleware(
        PacingMiddleware, users=service.users, most_queued=options.max_pending_per_key
    )
    routes, metrics = _routes(), Metrics(service)
    sinks = [metrics.observe, log_request, *([sink] if (sink := span_sink()) else [])]
    recording = Middleware(RecordMiddleware, routes=routes, sinks=sinks)
    errors = (LlavaToolsError, HTTPException, Exception)
    app = Starlette(
        routes=routes,
        middleware=[recording, access, pacing, cors],
        exception_handlers=dict.fromkeys(errors, respond_to_error)
        | {ClientDisconnect: _respond_to_nobody},
        lifespan=lifespan,
    )
    app.state.service = service
    app.state.metrics = metrics
    return app


def _routes() -> list[BaseRoute]:
    routes = [
        Route("/health", _health),
        Route("/version", _version),
        *METRICS_ROUTES,
        *openai.ROUTES,
        *ollama.ROUTES,
        *page.ROUTES,
    ]
    return [*routes, make_route(routes)]


async def _health(http: HttpRequest) -> Response:
    """Return 200 once requests are answered, 503 before."""
    service: Service = http.app.state.service
    service.check_loaded()
    return JSONResponse({"status": "ok", "model": service.model_name})


async def _version(http: HttpRequest) -> Response:
    return JSONResponse({"version": __version__})


async def _respond_to_nobody(http: HttpRequest, error: Exception) -> Response:
    """Return what the log shows for a client that has left (nginx's status)."""
    return Response(status_code=499)
