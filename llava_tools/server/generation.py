"""Runs requests for HTTP clients: counted, within a time, and only while the client is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest

from llava_tools.core.outputs import Answer, Chunk, collect
from llava_tools.core.requests import Request
from llava_tools.core.streaming import astream
from llava_tools.errors import AnswerTimeoutError, RequestError
from llava_tools.server.record import current_record
from llava_tools.server.service import Service
from llava_tools.server.users import User

T = TypeVar("T")

#: Most characters of a text whose tokens are counted: an encoder takes some 400 bytes for each.
MAX_COUNTED_CHARACTERS = 1_000_000


async def generate(service: Service, user: User, request: Request) -> AsyncGenerator[Chunk]:
    """Yield the chunks of an answer; leaving the iteration stops the generation.

    Raises:
        RequestError: The request cannot be answered as it is.
        QueueFullError: Too many requests are running.
        AnswerTimeoutError: The answer takes longer than allowed.
        EngineError: The engine could not finish, or is not loaded yet.
    """
    check_images(request, service.options.max_images)
    service.check_loaded()
    deadline = time.monotonic() + service.options.timeout
    record = current_record()
    with service.admission.admit(user), record.answering(request):
        async with aclosing(astream(lambda: service.model.backend, request)) as stream:
            while (chunk := await _next(stream, deadline, service.options.timeout)) is not None:
                record.add_chunk(chunk)
                yield chunk


async def answer(service: Service, user: User, request: Request) -> Answer:
    """Return a whole answer; see `generate`."""
    async with aclosing(generate(service, user, request)) as stream:
        chunks = [chunk async for chunk in stream]
    return collect(chunks, service.model_name)


async def run(service: Service, user: User, work: Callable[[], T]) -> T:
    """Return the result of work that yields no chunks, such as scores; it runs in a thread.

    Raises:
        QueueFullError: Too many requests are running.
        EngineError: The engine could not finish, or is not loaded yet.
    """
    service.check_loaded()
    with service.admission.admit(user):
        return await asyncio.to_thread(work)


def count_tokens(service: Service, request: Request) -> int:
    """Return the number of tokens of a prompt.

    Raises:
        RequestError: It has more than `MAX_COUNTED_CHARACTERS`, or cannot be a prompt.
        EngineError: The engine is not loaded yet.
    """
    _check_length(sum(len(message.text) for message in request.messages))
    service.check_loaded()
    return service.model.backend.count_tokens(request)


def token_ids(service: Service, text: str) -> list[int]:
    """Return the token ids of a text; see `count_tokens` for errors."""
    _check_length(len(text))
    service.check_loaded()
    return service.model.backend.token_ids(text)


async def while_connected(http: HttpRequest, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine, and cancel it if the client leaves.

    The body must have been read.

    Raises:
        ClientDisconnect: The client has left.
    """
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_disconnect(http))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        left.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def started(http: HttpRequest, stream: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """Return a stream whose first item has come, so that an error before it gets an HTTP status.

    Raises:
        ClientDisconnect: The client has left.
    """
    try:
        first = await while_connected(http, _first(stream))
    except BaseException:
        await stream.aclose()
        raise

    async def items() -> AsyncGenerator[T]:
        async with aclosing(stream):
            yield first
            async for item in stream:
                yield item

    return items()


def check_images(request: Request, most: int) -> None:
    """Check the number of images.

    Raises:
        RequestError: There are more than `most`.
    """
    count = sum(len(message.images) for message in request.messages)
    if count > most:
        raise RequestError(
            f"The request has {count} images; the limit is {most}.", "Send fewer in a request."
        )


def _check_length(characters: int) -> None:
    if characters > MAX_COUNTED_CHARACTERS:
        raise RequestError(
            f"The text has {characters:,} characters; the tokens of {MAX_COUNTED_CHARACTERS:,} are "
            "counted at most.",
            "Send less text.",
        )


async def _first(stream: AsyncGenerator[T]) -> T:
    return await anext(stream)


async def _next(stream: AsyncGenerator[Chunk], deadline: float, timeout: float) -> Chunk | None:
    """Return the next chunk, None at the end."""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await anext(stream, None)
    except TimeoutError:
        raise AnswerTimeoutError(
            f"The answer was not finished after {timeout:g} seconds.",
            "Ask for fewer tokens (max_tokens).",
        ) from None


async def _disconnect(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
