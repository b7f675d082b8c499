"""Runs requests for HTTP clients: counted, within a time, and only while the client is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest

from llava_tools.core.outputs import Answer, Chunk, collect
from llava_tools.core.requests import Request
from llava_tools.core.streaming import astream
from llava_tools.errors import AnswerTimeoutError, RequestError
from llava_tools.server.pacing import add_wait, end_turn
from llava_tools.server.record import current_record
from llava_tools.server.service import Service
from llava_tools.server.users import User

T = TypeVar("T")

#: Most characters of a text whose tokens are counted: an encoder takes some 400 bytes for each.
MAX_COUNTED_CHARACTERS = 1_000_000
#: Seconds of the model that are not charged: an image and a question take so many on two cores.
FREE_SECONDS = 0.05
_FEWER_TOKENS = "Ask for fewer tokens (max_tokens)."


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
    admitted = time.monotonic()
    with _admitted(service, user), record.answering(request):
        async with aclosing(astream(lambda: service.model.backend, request)) as stream:
            while (
                chunk := await next_within(stream, deadline, service.options.timeout)
            ) is not None:
                end_turn(_uncharged(chunk, time.monotonic() - admitted))
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
    admitted = time.monotonic()
    with _admitted(service, user):
        result = await asyncio.to_thread(work)
    add_wait(min(time.monotonic() - admitted, FREE_SECONDS))
    return result


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


async def next_within(
    stream: AsyncGenerator[T], deadline: float, timeout: float, hint: str = _FEWER_TOKENS
) -> T | None:
    """Return the next item of a stream, None at the end.

    `deadline` is by `time.monotonic`; see `time_limit` for the others.
    """
    async with time_limit(deadline - time.monotonic(), timeout, hint):
        return await anext(stream, None)


@asynccontextmanager
async def time_limit(seconds: float, timeout: float, hint: str) -> AsyncGenerator[None]:
    """Cancel the block after some seconds.

    Args:
        seconds: What is left of the answer's time.
        timeout: All of it, for the message.
        hint: What to do next.

    Raises:
        AnswerTimeoutError: The time is up.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        message = f"The answer was not finished after {timeout:g} seconds."
        raise AnswerTimeoutError(message, hint) from None


def check_images(request: Request, most: int) -> None:
    """Check the number of images of a request; see `check_image_count`."""
    check_image_count(sum(len(message.images) for message in request.messages), most)


def check_image_count(count: int, most: int) -> None:
    """Check a number of images.

    Raises:
        RequestError: There are more than `most`.
    """
    if count > most:
        raise RequestError(
            f"The request has {count} images; the limit is {most}.", "Send fewer in a request."
        )


@contextmanager
def _admitted(service: Service, user: User) -> Iterator[None]:
    """Count a request while it runs; its turn goes on if the model is in this process."""
    with service.admission.admit(user):
        if service.model.options.base_url is not None:
            end_turn()
        yield


def _uncharged(first: Chunk, seconds: float) -> float:
    """Return how many of the seconds until an answer's first chunk its user is not charged for."""
    if first.prompt_seconds is None:
        return seconds
    return seconds - max(0.0, first.prompt_seconds - FREE_SECONDS)


def _check_length(characters: int) -> None:
    if characters > MAX_COUNTED_CHARACTERS:
        raise RequestError(
            f"The text has {characters:,} characters; the tokens of {MAX_COUNTED_CHARACTERS:,} are "
            "counted at most.",
            "Send less text.",
        )


async def _first(stream: AsyncGenerator[T]) -> T:
    return await anext(stream)


async def _disconnect(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
