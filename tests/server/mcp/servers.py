"""Real HTTP servers on free ports, and their clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from llava_tools.server.mcp import McpServer
from llava_tools.server.mcp.http import PATH, create_app
from llava_tools.server.options import ServerOptions

#: Opens a client: its mode, and its API key if it has one.
Connect = Callable[..., AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def serve(server: McpServer, **options: Any) -> AsyncIterator[Connect]:
    """Serve over HTTP in this event loop, and yield what connects clients."""
    async with listen(server, **options) as url:

        @asynccontextmanager
        async def connect(mode: Any, key: str | None = None) -> AsyncIterator[Client]:
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            async with (
                httpx2.AsyncClient(headers=headers, timeout=30) as http,
                Client(streamable_http_client(url, http_client=http), mode=mode) as client,
            ):
                yield client

        yield connect


@asynccontextmanager
async def listen(server: McpServer, **options: Any) -> AsyncIterator[str]:
    """Serve over HTTP in this event loop, and yield the address."""
    app = create_app(server, ServerOptions(**options))
    config = uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    running.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(running.serve())
    try:
        while not running.started:
            assert not task.done()
            await asyncio.sleep(0)
        (address, *_) = running.servers[0].sockets
        yield f"http://127.0.0.1:{address.getsockname()[1]}{PATH}"
    finally:
        running.should_exit = True
        await task
