"""Over stdio: the command as a process of its own, as a host starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from tests.server.mcp.scene import call_every_tool, data_of, error_of, images_of

ROOT = Path(__file__).parents[3]
IMAGES = ROOT / "examples" / "images"
SCRIPTED = ("-m", "tests.server.mcp.scripted_command")


def _parameters(*words: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable, args=list(words), env=dict(os.environ), cwd=ROOT
    )


async def test_every_tool_answers_whatever_is_printed(mode: Any) -> None:
    async with Client(_parameters(*SCRIPTED, "mcp"), mode=mode) as client:
        await call_every_tool(client)


async def test_flags_allow_a_folder_and_select_tools() -> None:
    flags = ("--allow-directory", str(IMAGES), "--tools", "look, add_image")
    async with Client(_parameters(*SCRIPTED, "mcp", *flags)) as client:
        assert [t.name for t in (await client.list_tools()).tools] == ["look", "add_image"]
        look = {"image": "night.png", "question": "What is it?"}
        assert data_of(await client.call_tool("look", look))["text"] == "blue"
        outside = {"image": str(ROOT / "README.md"), "question": "What is it?"}
        assert "not in an allowed directory" in error_of(await client.call_tool("look", outside))


@pytest.mark.parametrize("end", ["eof", signal.SIGINT, signal.SIGTERM])
def test_the_process_ends_when_its_host_does(end: Any) -> None:
    process = subprocess.Popen(
        [sys.executable, *SCRIPTED, "mcp"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    hello = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
    process.stdin.write(hello)
    process.stdin.flush()
    assert b'"id":1' in process.stdout.readline()
    if end == "eof":
        process.stdin.close()
    else:
        process.send_signal(end)
    code = process.wait(20)
    rest, errors = process.stdout.read(), process.stderr.read() if process.stderr else b""
    process.stdout.close()
    assert rest == b""
    assert b"Traceback" not in errors
    assert code == (0 if end == "eof" else -end)


@pytest.mark.slow
async def test_the_embedded_model_looks_and_locates() -> None:
    command = _parameters("-m", "llava_tools", "mcp", "--allow-directory", str(IMAGES))
    messages: list[str | None] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        messages.append(message)

    async with Client(command) as client:
        look = {"image": "night.png", "question": "What colour is the star?"}
        looked = await client.call_tool("look", look, progress_callback=report)
        located = await client.call_tool("locate", {"image": "night.png", "thing": "the star"})
    assert data_of(looked)["text"] == "yellow"
    assert "loading the model" in messages
    assert data_of(located)["certainty"] > 0.5
    assert len(images_of(located)) == 1
