"""Two clients of an MCP server: each with a key and a session of its own."""

from __future__ import annotations

import asyncio
import base64
import threading
from contextlib import AsyncExitStack
from typing import Any

from mcp import MCPError

from llava_tools import Llava
from llava_tools.core.backend import Backend
from llava_tools.server.mcp import McpServer
from tests.hardening.neighbours.server import KEYS
from tests.hardening.neighbours.user import STORE_BYTES, Operation, noise
from tests.server.mcp.servers import serve


class Sessions:
    """An MCP server over HTTP, and two clients.

    Args:
        backend: Its model.
    """

    def __init__(self, backend: Backend) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = McpServer(Llava(backend=backend), store_bytes=STORE_BYTES)
        self._stop = asyncio.Event()
        ready: asyncio.Future[None] = self._wait(_future())
        self._task = asyncio.run_coroutine_threadsafe(self._serve(ready), self._loop)
        self._wait(_settled(ready))

    async def _serve(self, ready: asyncio.Future[None]) -> None:
        """Serve until the end, in one task, as the clients' scopes need it."""
        async with AsyncExitStack() as stack:
            connect = await stack.enter_async_context(serve(self._server, api_keys=KEYS))
            self._clients = [
                await stack.enter_async_context(connect("legacy", key)) for key in KEYS
            ]
            ready.set_result(None)
            await self._stop.wait()

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        """End clients and server."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._task.result(60)
        self._wait(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def shown(self) -> str:
        """Return what is shown to whoever watches; here nobody does."""
        return ""

    def run(self, user: int, operation: Operation) -> object:
        """Do something as a user, and return what came of it."""
        try:
            return self._wait(_run(self._clients[user], operation))
        except MCPError as error:
            return f"MCPError: {error}"


async def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def _settled(ready: asyncio.Future[None]) -> None:
    await ready


async def _cancel_others() -> None:
    """Cancel what the server's library leaves behind."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def _run(client: Any, operation: Operation) -> object:
    handle = operation.image.handle
    look = {"image": handle, "question": operation.text}
    match operation.kind:
        case "add":
            return await _add(client, operation.image.data)
        case "list" | "read on":
            return sorted(item.name for item in (await client.list_resources()).resources)
        case "probe" | "remove the other's":
            return (await client.read_resource(f"image://{handle}")).model_dump_json()
        case "evict":
            return [await _add(client, noise(number).data) for number in range(12)]
        case "error":
            return await _call(client, "look", {"image": operation.word, "question": ""})
        case "ask by the other's handle" | "tool, other's handle":
            return await _call(client, "look", look)
        case _:
            await _add(client, operation.image.data)
            return await _call(client, "look", look)


async def _add(client: Any, data: bytes) -> object:
    return await _call(client, "add_image", {"data": base64.b64encode(data).decode()})


async def _call(client: Any, name: str, arguments: dict[str, Any]) -> object:
    return (await client.call_tool(name, arguments)).model_dump_json()
