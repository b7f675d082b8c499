"""Names in calls of MCP, and in the URIs of its resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from anyio.from_thread import start_blocking_portal
from mcp import Client, MCPError

from llava_tools import Llava
from llava_tools.server.mcp import McpServer
from tests.hardening.surfaces.direct import TOOL_ARGUMENTS, tool_call
from tests.hardening.surfaces.surface import (
    Access,
    FrameworkRefusalError,
    RefusalError,
    Surface,
    make_backend,
)


def surfaces(access: Access, stack: ExitStack) -> Iterator[Surface]:
    """Yield the surfaces of a server for MCP."""
    server = McpServer(
        Llava(backend=make_backend()),
        allowed_directories=access.directories,
        allowed_hosts=access.hosts,
    )
    portal = stack.enter_context(start_blocking_portal())
    client = stack.enter_context(portal.wrap_async_context_manager(Client(server)))

    def called(tool: str, arguments: Callable[[str], dict[str, Any]]) -> Callable[[str], str]:
        def send(name: str) -> str:
            result = portal.call(client.call_tool, tool, arguments(name))
            text = " ".join(getattr(block, "text", "") for block in result.content)
            if result.is_error:
                raise RefusalError(text)
            return text

        return send

    for tool in TOOL_ARGUMENTS:
        send = called(tool, partial(tool_call, tool))
        yield Surface(f"MCP {tool}", send, "allowed", "allowed")
    add_name = called("add_image", lambda name: {"name": name})
    yield Surface("MCP add_image name", add_name, "allowed", "allowed")
    yield Surface("MCP add_image data", called("add_image", lambda d: {"data": d}), "none", "none")

    def read(uri: str) -> str:
        try:
            return str(portal.call(client.read_resource, uri))
        except MCPError as error:
            raise RefusalError(str(error)) from error
        except UnicodeEncodeError as error:  # a lone surrogate
            raise FrameworkRefusalError("The client sends no such text.") from error

    yield Surface("MCP resource", read, "none", "none")
    yield Surface("MCP image://", lambda name: read(f"image://{name}"), "none", "none")
