"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llava_tools.core.outputs import Chunk
from llava_tools.errors import LlavaToolsError
from llava_tools.server.bodies import read_body
from llava_tools.server.generation import answer, generate, started, while_connected
from llava_tools.server.openai.chat_body import ChatBody
from llava_tools.server.openai.completion import CompletionWriter
from llava_tools.server.openai.events import DONE, EventStream, encode_event, error_body
from llava_tools.server.service import Service


async def create_completion(http: HttpRequest) -> Response:
    """Answer a conversation, whole or as a stream of chunks."""
    service: Service = http.app.state.service
    user = http.state.user
    body = await read_body(http, ChatBody)
    if body.model is not None:
        service.check_model(body.model)
    request = await run_in_threadpool(body.to_request, user)
    writer = CompletionWriter(
        body.model or service.model_name,
        logprobs=bool(body.logprobs),
        token_ids=body.return_token_ids,
        usage=body.stream_options is not None and body.stream_options.include_usage,
    )
    if not body.stream:
        result = await while_connected(http, answer(service, user, request))
        return JSONResponse(writer.completion(result))
    chunks = await started(http, generate(service, user, request))
    return EventStream(_events(writer, chunks))


async def _events(writer: CompletionWriter, chunks: AsyncGenerator[Chunk]) -> AsyncGenerator[bytes]:
    """Yield the events of a completion."""
    async with aclosing(chunks):
        yield encode_event(writer.first())
        try:
            async for chunk in chunks:
                for item in writer.chunks(chunk):
                    yield encode_event(item)
        except LlavaToolsError as error:
            yield encode_event(error_body(error))
    yield DONE


ROUTES = [Route("/v1/chat/completions", create_completion, methods=["POST"])]
