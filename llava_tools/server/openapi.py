"""`GET /openapi.json`: a description of the API, made from its routes and its bodies' models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from pydantic.json_schema import models_json_schema
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from llava_tools import __version__
from llava_tools.server.bodies import Body
from llava_tools.server.ollama import chat as ollama_chat
from llava_tools.server.ollama import embed, generate, library
from llava_tools.server.ollama import models as ollama_models
from llava_tools.server.openai import chat_body, embeddings, response_body, score, tokenize
from llava_tools.server.page import api, documents, evidence

#: Models of the bodies by path.
BODIES: dict[str, type[Body]] = {
    "/v1/chat/completions": chat_body.ChatBody,
    "/v1/embeddings": embeddings.EmbeddingsBody,
    "/v1/responses": response_body.ResponseBody,
    "/tokenize": tokenize.TokenizeBody,
    "/llava/score": score.ScoreBody,
    "/api/chat": ollama_chat.ChatBody,
    "/api/generate": generate.GenerateBody,
    "/api/embed": embed.EmbedBody,
    "/api/embeddings": embed.EmbeddingsBody,
    "/api/show": ollama_models.ShowBody,
    "/api/pull": library.PullBody,
    "/llava/documents/ask": documents.AskBody,
    "/llava/documents/search": documents.SearchBody,
    "/llava/tools/{name}": api.ToolBody,
    "/llava/evidence": evidence.EvidenceBody,
}
#: Paths with bodies that are no JSON.
BINARY_BODIES = frozenset({"/llava/images"})

_PREFIXES = ("/v1/", "/api/", "/llava/", "/tokenize", "/health", "/version")
_EVENTS, _LINES = "text/event-stream", "application/x-ndjson"
#: Media types of answers that are not JSON, or not always.
_MEDIA_TYPES: dict[str, tuple[str, ...]] = {
    "/v1/chat/completions": ("application/json", _EVENTS),
    "/v1/responses": ("application/json", _EVENTS),
    "/api/chat": ("application/json", _LINES),
    "/api/generate": ("application/json", _LINES),
    "/api/pull": (_LINES,),
    "/llava/images/{handle}": ("image/*",),
    "/llava/documents/pages/{handle}": ("image/*",),
    "/llava/documents/ask": ("application/json", _EVENTS),
}
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_REFERENCE = "#/components/schemas/{model}"
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "anyOf": [
                {"type": "string", "description": "Of paths that begin with /api/."},
                {
                    "type": "object",
                    "properties": {
                        "message": {"type": "string"},
                        "type": {"type": "string"},
                        "param": {"type": ["string", "null"]},
                        "code": {"type": ["string", "null"]},
                    },
                    "required": ["message", "type", "param", "code"],
                },
            ]
        }
    },
    "required": ["error"],
}


def make_route(routes: Sequence[BaseRoute]) -> Route:
    """Return the route of the description of other routes."""
    return Route("/openapi.json", partial(_show, described_routes(routes)))


async def _show(routes: Sequence[Route], http: HttpRequest) -> Response:
    return JSONResponse(describe(routes))


def described_routes(routes: Iterable[BaseRoute]) -> list[Route]:
    """Return the routes of the API among all routes."""
    return [
        route for route in routes if isinstance(route, Route) and route.path.startswith(_PREFIXES)
    ]


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the description of routes in the form of OpenAPI 3.1."""
    inputs = [(body, "validation") for body in dict.fromkeys(BODIES.values())]
    names, schemas = models_json_schema(inputs, ref_template=_REFERENCE)  # type: ignore[arg-type]
    references = {body: schema for (body, _), schema in names.items()}
    paths: dict[str, Any] = {}
    for route in routes:
        body = BODIES.get(route.path)
        reference = references[body] if body else None
        operations = paths.setdefault(_PARAMETER.sub(r"{\1}", route.path), {})
        for method in sorted((route.methods or set()) - {"HEAD"}):
            operations[method.lower()] = _operation(route, reference)
    return {
        "openapi": "3.1.0",
        "info": {"title": "llava-tools", "version": __version__},
        "security": [{}, {"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {**schemas.get("$defs", {}), "Error": _ERROR},
        },
    }


def _operation(route: Route, body: dict[str, Any] | None) -> dict[str, Any]:
    types = _MEDIA_TYPES.get(route.path, ("application/json",))
    error = {"schema": {"$ref": _REFERENCE.format(model="Error")}}
    operation: dict[str, Any] = {
        "summary": (route.endpoint.__doc__ or route.name).partition("\n")[0],
        "responses": {
            "200": {"description": "The answer.", "content": {name: {} for name in types}},
            "default": {"description": "An error.", "content": {"application/json": error}},
        },
    }
    if body is not None:
        content = {"application/json": {"schema": body}}
        operation["requestBody"] = {"required": True, "content": content}
    elif route.path in BINARY_BODIES:
        content = {"application/octet-stream": {}}
        operation["requestBody"] = {"required": True, "content": content}
    if parameters := _PARAMETER.findall(route.path):
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in parameters
        ]
    return operation
