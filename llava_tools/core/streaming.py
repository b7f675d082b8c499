"""Collects answers from any backend: one or several, blocking or in an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import ExitStack, aclosing, closing, suppress
from functools import cache
from typing import Any, TypeVar

from llava_tools.core.backend import Backend, Stream
from llava_tools.core.outputs import Answer, Chunk, collect
from llava_tools.core.requests import Request

T = TypeVar("T")


def answer(backend: Backend, request: Request) -> Answer:
    """Answer a request.

    Raises:
        RequestError: The request cannot be answered as it is.
        EngineError: The backend could not finish.
    """
    with closing(backend.stream(request)) as stream:
        return collect(stream, backend.model_name)


def answer_all(backend: Backend, requests: Iterable[Request]) -> list[Answer]:
    """Answer several requests in one batch; see `answer`."""
    with ExitStack() as stack:
        streams = [stack.enter_context(closing(backend.stream(request))) for request in requests]
        return [collect(stream, backend.model_name) for stream in streams]


async def aanswer(load: Callable[[], Backend], request: Request) -> Answer:
    """`answer` without blocking the event loop; see `astream` for `load`."""
    load = cache(load)  # at the end, the model may be closed
    async with aclosing(astream(load, request)) as stream:
        chunks = [chunk async for chunk in stream]
    return collect(chunks, load().model_name)


async def aanswer_all(load: Callable[[], Backend], requests: Iterable[Request]) -> list[Answer]:
    """`answer_all` without blocking the event loop; see `astream` for `load`."""
    return await gather(aanswer(load, request) for request in requests)


async def gather(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines at once and return their results; if one fails, cancel the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def astream(load: Callable[[], Backend], request: Request) -> AsyncGenerator[Chunk]:
    """Stream an answer without blocking the event loop.

    Leaving the iteration, or cancelling its task, stops the generation. Each stream has its own
    thread, so that many waiting streams cannot starve the loop's shared executor.

    Args:
        load: Returns the backend. It runs in the stream's thread, since it may load the model.
        request: The request to answer.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue()
    cancelled = threading.Event()
    streams: list[Stream] = []

    def put(item: Chunk | BaseException | None) -> None:
        if not cancelled.is_set():
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(queue.put_nowait, item)

    def pump() -> None:
        try:
            backend = load()
            if cancelled.is_set():
                return
            stream = backend.stream(request)
            streams.append(stream)
            try:
                if not cancelled.is_set():
                    for chunk in stream:
                        put(chunk)
            finally:
                stream.close()
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's task
            put(error)

    threading.Thread(target=pump, name="llava-tools-astream", daemon=True).start()
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        cancelled.set()
        for stream in streams:
            stream.close()
