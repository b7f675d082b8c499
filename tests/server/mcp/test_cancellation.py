"""A cancelled call stops its generation; progress tells clients that a call runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from mcp import Client, MCPError

from llava_tools import Llava
from llava_tools.server.mcp import McpServer
from llava_tools.server.mcp.progress import Progress, ProgressSender
from llava_tools.testing import ScriptedBackend
from llava_tools.tools.requests import build_request
from tests.server.mcp.scene import add, data_of, make_server
from tests.server.mcp.servers import serve


class Pause:
    """Blocks a scripted model before each chunk, until it is released."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.released.wait(30)


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until a condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


async def _cancel_a_call(client: Client, backend: ScriptedBackend, pause: Pause) -> None:
    wide = await add(client)
    call = asyncio.create_task(client.call_tool("look", {"image": wide, "question": "What?"}))
    assert await asyncio.to_thread(pause.reached.wait, 30)
    assert backend.closed_early == 0
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: backend.closed_early == 1)
    pause.released.set()
    looked = await client.call_tool("look", {"image": wide, "question": "What?"})
    assert data_of(looked)["text"] == "a long answer"


async def test_a_cancelled_call_stops_its_generation(mode: Any) -> None:
    pause = Pause()
    backend = ScriptedBackend(("a long answer",), pause=pause)
    async with Client(McpServer(Llava(backend=backend)), mode=mode) as client:
        await _cancel_a_call(client, backend, pause)


@pytest.mark.parametrize("keys", [(), ("a-key-of-a-client",)])
async def test_a_call_cancelled_over_http_stops_its_generation(keys: tuple[str, ...]) -> None:
    pause = Pause()
    backend = ScriptedBackend(("a long answer",), pause=pause)
    async with (
        serve(McpServer(Llava(backend=backend)), api_keys=keys) as connect,
        connect("auto", *keys) as client,
    ):
        await _cancel_a_call(client, backend, pause)


async def test_the_end_of_a_session_stops_its_generations() -> None:
    pause = Pause()
    backend = ScriptedBackend(("a long answer",), pause=pause)
    async with serve(McpServer(Llava(backend=backend))) as connect:
        async with connect("legacy") as client:
            look = {"image": await add(client), "question": "What?"}
            call = asyncio.create_task(client.call_tool("look", look))
            assert await asyncio.to_thread(pause.reached.wait, 30)
        await until(lambda: backend.closed_early == 1)
        pause.released.set()
        with pytest.raises(MCPError):
            await call


async def test_a_call_reports_its_progress(mode: Any) -> None:
    reports: list[tuple[float, float | None, str | None]] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, total, message))

    async with Client(make_server(), mode=mode) as client:
        look = {"image": await add(client), "question": "What is it?"}
        await client.call_tool("look", look, progress_callback=report)
    assert reports[0][1:] == (None, "started")


async def test_progress_is_reported_at_intervals_and_grows() -> None:
    reports: list[float] = []
    enough = asyncio.Event()

    async def report(progress: float, total: float | None, message: str | None) -> None:
        reports.append(progress)
        if len(reports) == 5:
            enough.set()

    async with Progress(report, interval=0.001):
        await asyncio.wait_for(enough.wait(), 30)
    number = len(reports)
    assert reports == sorted(set(reports))
    await asyncio.sleep(0)
    assert len(reports) == number


async def test_messages_say_what_is_done() -> None:
    progress = Progress(_ignore)
    states: list[str] = []
    backend = ScriptedBackend(("two words",), pause=lambda: states.append(progress.state))
    sender = ProgressSender(Llava(backend=backend), progress)
    (answer,) = await sender.aanswer([build_request("What?", max_tokens=9)])
    assert answer.text == "two words"
    assert states[0] == "reading the image"
    assert (progress.state, progress.tokens) == ("answering", 2)


async def _ignore(progress: float, total: float | None, message: str | None) -> None:
    pass
