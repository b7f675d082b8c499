"""Answers requests of `/api/chat` and `/api/generate`: whole, or as a stream of lines."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from llava_tools.core.outputs import Chunk, collect
from llava_tools.core.requests import Request
from llava_tools.errors import LlavaToolsError
from llava_tools.server.errors import to_http
from llava_tools.server.generation import (
    answer,
    count_tokens,
    generate,
    started,
    while_connected,
)
from llava_tools.server.ollama.answer_writer import AnswerWriter
from llava_tools.server.ollama.generation_body import GenerationBody
from llava_tools.server.ollama.lines import LineStream, encode_line
from llava_tools.server.ollama.loading import load, unload, unload_if_idle
from llava_tools.server.ollama.sampling import rest_of_context
from llava_tools.server.service import Service


async def respond(
    http: HttpRequest, body: GenerationBody, request: Request, writer: AnswerWriter
) -> Response:
    """Answer a request, whose sampling parameters are those of the body.

    Raises:
        LlavaToolsError: Before the stream has started.
        ClientDisconnect: The client has left.
    """
    service: Service = http.app.state.service
    sampling, fills_context = body.sampling()
    request = replace(request, sampling=sampling)
    after = BackgroundTask(unload_if_idle, service) if body.unloads() else None
    if fills_context:
        request = await run_in_threadpool(_fill_context, service, request)
    if not body.streams:
        result = await while_connected(http, answer(service, http.state.user, request))
        return JSONResponse(writer.whole(result), background=after)
    chunks = await started(http, generate(service, http.state.user, request))
    return LineStream(_lines(writer, chunks, service.model_name), after)


async def respond_to_empty(
    http: HttpRequest, body: GenerationBody, writer: AnswerWriter
) -> Response:
    """Load the model, or unload it if its `keep_alive` is 0.

    Raises:
        LlavaToolsError: It cannot be loaded.
        HTTPException: It cannot be unloaded.
    """
    service: Service = http.app.state.service
    if body.unloads():
        await run_in_threadpool(unload, service)
        return JSONResponse(writer.empty("unload"))
    await run_in_threadpool(load, service)
    return JSONResponse(writer.empty("load"))


def _fill_context(service: Service, request: Request) -> Request:
    """Return a request whose answer may take what the prompt leaves of the context."""
    rest = rest_of_context(count_tokens(service, request), service.context_length)
    return replace(request, sampling=replace(request.sampling, max_tokens=rest))


async def _lines(
    writer: AnswerWriter, stream: AsyncGenerator[Chunk], model: str
) -> AsyncGenerator[bytes]:
    """Yield the lines of an answer; an error after its start is a line too."""
    chunks: list[Chunk] = []
    async with aclosing(stream):
        try:
            async for chunk in stream:
                chunks.append(chunk)
                if (line := writer.chunk(chunk)) is not None:
                    yield encode_line(line)
            result = collect(chunks, model)
        except LlavaToolsError as error:
            yield encode_line({"error": to_http(error).message})
            return
    if result.tool_calls:
        yield encode_line(writer.tool_calls(result.tool_calls))
    yield encode_line(writer.last(result))
