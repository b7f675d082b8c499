"""`llava-tools mcp --http` as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.server.mcp.scene import call_every_tool

ROOT = Path(__file__).parents[3]
KEY = "key-of-the-test"


@pytest.fixture
def address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def process(address: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    (tmp_path / "keys.txt").write_text(f"# of a test\n{KEY}\n")
    words = ["-m", "tests.server.mcp.scripted_command", "mcp", "--http", address]
    words += ["--api-key-file", str(tmp_path / "keys.txt")]
    environment = {k: v for k, v in os.environ.items() if k != "LLAVA_SERVER_API_KEY"}
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env=environment, stderr=subprocess.PIPE
    )
    yield process
    process.kill()
    process.communicate()


async def _answers(address: str) -> bool:
    host, port = address.split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def test_the_command_serves_every_tool_and_ends_on_sigterm(
    process: subprocess.Popen[bytes], address: str
) -> None:
    async with asyncio.timeout(60):
        while not await _answers(address):
            assert process.poll() is None
            await asyncio.sleep(0.05)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(f"http://{address}/mcp", http_client=http)) as client,
    ):
        await call_every_tool(client)
        process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.to_thread(process.communicate, timeout=30)
    assert f"http://{address}/mcp".encode() in errors
    assert KEY.encode() not in errors
    assert b"Traceback" not in errors
