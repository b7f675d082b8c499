"""`POST /v1/responses`, stateless: a response is returned and not kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llava_tools.core.outputs import Chunk
from llava_tools.errors import LlavaToolsError
from llava_tools.server.bodies import read_body
from llava_tools.server.generation import generate, started, while_connected
from llava_tools.server.openai.events import EventStream, encode_event
from llava_tools.server.openai.response_body import ResponseBody
from llava_tools.server.openai.response_events import ResponseWriter
from llava_tools.server.service import Service


async def create_response(http: HttpRequest) -> Response:
    """Answer an input, whole or as a stream of events."""
    service: Service = http.app.state.service
    user = http.state.user
    body = await read_body(http, ResponseBody)
    if body.model is not None:
        service.check_model(body.model)
    request = await run_in_threadpool(body.to_request, user)
    model = body.model or service.model_name
    writer = ResponseWriter(model, body.echo(), logprobs=body.logprobs)
    chunks = generate(service, user, request)
    if not body.stream:
        return JSONResponse(await while_connected(http, _collect(writer, chunks)))
    return EventStream(_events(writer, await started(http, chunks)))


async def _collect(writer: ResponseWriter, chunks: AsyncGenerator[Chunk]) -> dict[str, Any]:
    """Return the whole response."""
    async with aclosing(chunks):
        async for chunk in chunks:
            for _ in writer.feed(chunk):
                pass
    return writer.response


async def _events(writer: ResponseWriter, chunks: AsyncGenerator[Chunk]) -> AsyncGenerator[bytes]:
    """Yield the events of a response."""
    async with aclosing(chunks):
        for event in writer.start():
            yield encode_event(event, event["type"])
        try:
            async for chunk in chunks:
                for event in writer.feed(chunk):
                    yield encode_event(event, event["type"])
        except LlavaToolsError as error:
            for event in writer.fail(error):
                yield encode_event(event, event["type"])


ROUTES = [Route("/v1/responses", create_response, methods=["POST"])]
