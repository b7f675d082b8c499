"""`run_work`: runs a coroutine for an HTTP client, counted, within the time, while it is there."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import Request as HttpRequest

from llava_tools.server.generation import next_within, time_limit, while_connected
from llava_tools.server.pacing import end_turn
from llava_tools.server.service import Service
from llava_tools.server.users import User

T = TypeVar("T")

_LESS = "Ask for less, or try again."


async def run_work(http: HttpRequest, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return the result of a coroutine that uses the model; it is cancelled if the client leaves.

    Raises:
        ClientDisconnect: The client has left.
        QueueFullError: Too many requests are running.
        AnswerTimeoutError: It takes longer than allowed.
        EngineError: The engine could not finish, or is not loaded yet.
    """
    service: Service = http.app.state.service
    service.check_loaded()
    with service.admission.admit(http.state.user):
        end_turn()
        return await while_connected(http, _within(service.options.timeout, work()))


async def stream_work(
    service: Service, user: User, open_stream: Callable[[], AsyncGenerator[T]]
) -> AsyncGenerator[T]:
    """Yield what a stream yields that uses the model; leaving the iteration closes it.

    Raises:
        QueueFullError: Too many requests are running.
        AnswerTimeoutError: It takes longer than allowed.
        EngineError: The engine could not finish, or is not loaded yet.
    """
    service.check_loaded()
    timeout = service.options.timeout
    deadline = time.monotonic() + timeout
    with service.admission.admit(user):
        end_turn()
        async with aclosing(open_stream()) as stream:
            while (item := await next_within(stream, deadline, timeout, _LESS)) is not None:
                yield item


async def _within(timeout: float, work: Coroutine[Any, Any, T]) -> T:
    async with time_limit(timeout, timeout, _LESS):
        return await work
