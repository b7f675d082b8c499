"""Concurrent requests, and streams that are closed early."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk

from langchain_llava import ChatLlava
from llava_tools.core.requests import Request
from llava_tools.testing import ScriptedBackend
from tests.langchain.scripted import echo, until


class WaitForOthers:
    """Script that answers when `number` requests run at the same time."""

    def __init__(self, number: int) -> None:
        self.barrier = threading.Barrier(number, timeout=30)

    def __call__(self, request: Request) -> str:
        self.barrier.wait()
        return echo(request)


def test_batch_runs_concurrently_in_order() -> None:
    model = ChatLlava(backend=ScriptedBackend(WaitForOthers(4)))
    messages = model.batch([f"number {i}" for i in range(8)], {"max_concurrency": 4})
    assert [message.content for message in messages] == [f"you said number {i}" for i in range(8)]


async def test_abatch_runs_concurrently_in_order() -> None:
    model = ChatLlava(backend=ScriptedBackend(WaitForOthers(32)))
    messages = await model.abatch([f"number {i}" for i in range(32)])
    assert [message.content for message in messages] == [f"you said number {i}" for i in range(32)]


class Gate:
    """Lets the first chunk pass and holds the second one until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.passed = 0

    def __call__(self) -> None:
        self.passed += 1
        if self.passed > 1:
            self.opened.wait(30)


@pytest.mark.parametrize("options", [{}, {"timeout": 60}])
async def test_cancelling_astream_stops_the_generation(options: dict[str, Any]) -> None:
    gate = Gate()
    backend = ScriptedBackend(["one two three"], pause=gate)
    model = ChatLlava(backend=backend, **options)
    started = asyncio.Event()

    async def read() -> None:
        async for _ in model.astream("x"):
            started.set()

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert backend.closed_early == 1
    gate.opened.set()


async def test_cancelling_ainvoke_stops_the_generation() -> None:
    gate = Gate()
    backend = ScriptedBackend(["one two three"], pause=gate)
    task = asyncio.create_task(ChatLlava(backend=backend).ainvoke("x"))
    await until(lambda: gate.passed > 1)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert backend.closed_early == 1
    gate.opened.set()


async def test_breaking_out_of_a_stream_closes_it() -> None:
    backend = ScriptedBackend(["one two three"])
    model = ChatLlava(backend=backend)
    for _ in model.stream("x"):
        break
    assert backend.closed_early == 1
    gate = Gate()
    backend = ScriptedBackend(["one two three"], pause=gate)
    chunks: AsyncIterator[AIMessageChunk] = ChatLlava(backend=backend).astream("x")
    async with aclosing(chunks):  # type: ignore[type-var]
        async for _ in chunks:
            break
    await until(lambda: backend.closed_early == 1)
    gate.opened.set()
