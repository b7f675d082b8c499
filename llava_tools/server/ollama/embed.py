"""`POST /api/embed` and the older `/api/embeddings`: texts as vectors."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Literal

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llava_tools.server.bodies import Body, Items, read_body
from llava_tools.server.errors import InvalidFieldError
from llava_tools.server.generation import run
from llava_tools.server.ollama.answer_writer import nanoseconds
from llava_tools.server.ollama.names import check_model
from llava_tools.server.service import Service


class EmbedBody(Body):
    """The body of `POST /api/embed`. Texts are cut after 77 tokens, as Ollama does by default."""

    ignored: ClassVar[frozenset[str]] = frozenset({"options", "keep_alive"})

    model: str
    input: str | Items[str] | None = None
    truncate: Literal[True, None] = None
    dimensions: int | None = None


class EmbeddingsBody(Body):
    """The body of `POST /api/embeddings`."""

    ignored: ClassVar[frozenset[str]] = EmbedBody.ignored

    model: str
    prompt: str | None = None


async def embed(http: HttpRequest) -> Response:
    """Return a vector for each text."""
    start = time.monotonic()
    body = await read_body(http, EmbedBody)
    texts = [body.input] if isinstance(body.input, str) else body.input or []
    vectors = await _embed(http, body.model, [] if texts == [""] else texts)
    if vectors and body.dimensions not in (None, 0, len(vectors[0])):
        raise InvalidFieldError(
            f"dimensions={body.dimensions} is not possible.",
            f"The vectors have {len(vectors[0])}; leave it out.",
            "dimensions",
        )
    written: dict[str, Any] = {"model": body.model, "embeddings": vectors}
    return JSONResponse(written | {"total_duration": nanoseconds(time.monotonic() - start)})


async def embed_prompt(http: HttpRequest) -> Response:
    """Return the vector of a text."""
    body = await read_body(http, EmbeddingsBody)
    vectors = await _embed(http, body.model, [body.prompt] if body.prompt else [])
    return JSONResponse({"embedding": vectors[0] if vectors else []})


async def _embed(http: HttpRequest, model: str, texts: list[str]) -> list[list[float]]:
    service: Service = http.app.state.service
    check_model(service, model)
    return await run(service, http.state.user, lambda: service.embedder.embed_texts(texts))


ROUTES = [
    Route("/api/embed", embed, methods=["POST"]),
    Route("/api/embeddings", embed_prompt, methods=["POST"]),
]
