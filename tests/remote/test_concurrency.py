"""Leaving, waiting, many at once."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from llava_tools import Llava
from llava_tools.core.constraints import Constraint
from llava_tools.core.outputs import Answer
from llava_tools.core.requests import Message, Request
from llava_tools.errors import (
    EngineClosedError,
    QueueFullError,
)
from tests.remote.requests import ADD, CALL, QUESTION, Connect, Serve, full_answer


def test_a_closed_stream_ends_the_request(serve: Serve, connect: Connect) -> None:
    server = serve("one two three")
    backend = connect(server, max_concurrent_requests=1)
    server.faults = ["hold"]
    stream = backend.stream(Request(QUESTION))
    with pytest.raises(QueueFullError, match="1 requests are in flight"):
        backend.stream(Request(QUESTION))
    reader = ThreadPoolExecutor(1).submit(list, stream)
    assert server.held.wait(20)
    stream.close()
    stream.close()
    assert "one two".startswith("".join(delta.text for delta in reader.result(20)))
    assert server.gone.wait(20)
    assert full_answer(backend, Request(QUESTION)).text == "one two three"


def test_a_forgotten_stream_ends_the_request(serve: Serve, connect: Connect) -> None:
    server = serve("one two three")
    backend = connect(server)
    server.faults = ["hold"]
    stream = backend.stream(Request(QUESTION))
    next(stream)
    del stream
    gc.collect()
    assert server.gone.wait(20)


def test_closing_the_backend_fails_what_is_in_flight(serve: Serve, connect: Connect) -> None:
    server = serve("one two three")
    backend = connect(server)
    server.faults = ["hold"]
    stream = backend.stream(Request(QUESTION))
    assert server.held.wait(20)
    backend.close()
    with pytest.raises(EngineClosedError):
        list(stream)
    with pytest.raises(EngineClosedError):
        backend.stream(Request(QUESTION))


async def test_a_cancelled_task_ends_the_request(serve: Serve, connect: Connect) -> None:
    server = serve("one two three")
    server.faults = ["hold"]
    task = asyncio.create_task(Llava(backend=connect(server)).aask("What?"))
    await asyncio.to_thread(server.held.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.gone.wait, 20)


def test_many_at_once_over_few_connections(serve: Serve, connect: Connect) -> None:
    def echo(asked: dict[str, Any]) -> str:
        return str(asked["messages"][-1]["content"])

    server = serve(echo)
    backend = connect(server)
    asked = [Request((Message("user", (f"number {i}",)),)) for i in range(100)]
    with ThreadPoolExecutor(32) as pool:
        texts = list(pool.map(lambda request: full_answer(backend, request).text, asked))
    assert texts == [f"number {i}" for i in range(100)]
    before = len(server.connections)
    for request in asked[:10]:
        full_answer(backend, request)
    assert len(server.connections) == before <= 34


def test_constraints_found_out_by_many_at_once_are_found_out_once(
    serve: Serve, connect: Connect
) -> None:
    backend = connect(serve(CALL))
    forced = Request(QUESTION, constraint=Constraint((ADD,), tool_choice="any"))
    barrier = threading.Barrier(8)

    def ask(_: int) -> Answer:
        barrier.wait()
        return full_answer(backend, forced)

    with ThreadPoolExecutor(8) as pool:
        assert {answer.tool_calls[0].name for answer in pool.map(ask, range(8))} == {"add"}
