"""Closing, cancelling and concurrency of streams."""

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
from llava_tools.errors import EngineClosedError, QueueFullError
from tests.remote.requests import ADD, CALL, QUESTION, Connect, Serve, full_answer


def test_closing_a_stream_ends_the_request(serve: Serve, connect: Connect) -> None:
    server = serve("one two three")
    backend = connect(server, max_concurrent_requests=1)
    server.faults = ["hold"]
    stream = backend.stream(Request(QUESTION))
    with pytest.raises(QueueFullError, match="1 requests are in flight"):
        backend.stream(Request(QUESTION))
    reader = ThreadPoolExecutor(1).submit(list, stream)
    assert server.waiting.wait(20)
    stream.close()
    stream.close()
    assert "one two".startswith("".join(chunk.text for chunk in reader.result(20)))
    assert server.disconnected.wait(20)
    assert full_answer(backend, Request(QUESTION)).text == "one two three"


def test_dropping_a_stream_ends_the_request(serve: Serve, connect: Connect) -> None:
    server = serve("one two three")
    backend = connect(server)
    server.faults = ["hold"]
    stream = backend.stream(Request(QUESTION))
    next(stream)
    del stream
    gc.collect()
    assert server.disconnected.wait(20)


def test_closing_the_backend_fails_requests_in_flight(serve: Serve, connect: Connect) -> None:
    server = serve("one two three")
    backend = connect(server)
    server.faults = ["hold"]
    stream = backend.stream(Request(QUESTION))
    assert server.waiting.wait(20)
    backend.close()
    with pytest.raises(EngineClosedError):
        list(stream)
    with pytest.raises(EngineClosedError):
        backend.stream(Request(QUESTION))


async def test_cancelling_a_task_ends_the_request(serve: Serve, connect: Connect) -> None:
    server = serve("one two three")
    server.faults = ["hold"]
    task = asyncio.create_task(Llava(backend=connect(server)).aask("What?"))
    await asyncio.to_thread(server.waiting.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.disconnected.wait, 20)


def test_many_requests_share_few_connections(serve: Serve, connect: Connect) -> None:
    def echo(body: dict[str, Any]) -> str:
        return str(body["messages"][-1]["content"])

    server = serve(echo)
    backend = connect(server)
    requests = [Request((Message("user", (f"number {i}",)),)) for i in range(100)]
    with ThreadPoolExecutor(32) as pool:
        texts = list(pool.map(lambda request: full_answer(backend, request).text, requests))
    assert texts == [f"number {i}" for i in range(100)]
    before = len(server.connections)
    for request in requests[:10]:
        full_answer(backend, request)
    assert len(server.connections) == before <= 34


def test_concurrent_requests_probe_constraints_once(serve: Serve, connect: Connect) -> None:
    backend = connect(serve(CALL))
    forced = Request(QUESTION, constraint=Constraint((ADD,), tool_choice="any"))
    barrier = threading.Barrier(8)

    def answer(_: int) -> Answer:
        barrier.wait()
        return full_answer(backend, forced)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(answer, range(8)))
    assert {answer.tool_calls[0].name for answer in answers} == {"add"}
