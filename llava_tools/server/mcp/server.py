"""`McpServer`: the handlers of MCP's requests, for stdio and for HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp import MCPError
from mcp.server import Server, ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    TextContent,
)
from pydantic import ValidationError

from llava_tools import __version__
from llava_tools.errors import LlavaToolsError
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.model import Llava
from llava_tools.server.mcp import resources
from llava_tools.server.mcp.content import ContentOptions, to_call_result
from llava_tools.server.mcp.progress import Progress, ProgressSender
from llava_tools.server.mcp.sessions import Session, Sessions
from llava_tools.server.mcp.tools import describe_tool, make_tools, parse_arguments

if TYPE_CHECKING:
    from llava_tools.retrieval import PageIndex

_log = logging.getLogger(__name__)

#: Bytes that the images of a session may take.
STORE_BYTES = 128 << 20

#: What results have beside data and text.
DEFAULT_CONTENT = ContentOptions()

INSTRUCTIONS = (
    "Tools that look at images with LLaVA. Images are named by handles (img_...), which add_image "
    "and other tools give; image://HANDLE is the image itself. Boxes are x1, y1, x2, y2 in pixels "
    "from the top left corner."
)

_Context = ServerRequestContext[Any, Any]


class McpServer(Server[Any]):
    """A server for the Model Context Protocol.

    `run` of the SDK's class serves a client over streams, such as those of stdio; `http.create_app`
    serves many over HTTP.

    Args:
        model: Looks at the images; loaded by the first call.
        tools: Names of the tools; all by default.
        index: Searched by the tools `find` and `ask_documents`.
        allowed_directories: Folders whose files calls may name; a relative path starts there.
        allowed_hosts: Hosts ("host" or "host:port") whose http(s) URLs calls may name.
        store_bytes: Bytes that the images of a session may take in memory, >= 1.
        content: What results have beside data and text; images by default.
        existence_threshold: Minimum probability, 0 to 1, that an image shows what a call is about;
            below it, the result is an `AbsentResult`. None for no check.

    Attributes:
        sessions: The images of the clients.

    Raises:
        RequestError: An unknown tool, one without its index, or a folder or host that cannot be
            allowed; or an impossible threshold.
    """

    def __init__(
        self,
        model: Llava,
        *,
        tools: Iterable[str] | None = None,
        index: PageIndex | None = None,
        allowed_directories: Iterable[str | Path] = (),
        allowed_hosts: Iterable[str] = (),
        store_bytes: int = STORE_BYTES,
        content: ContentOptions = DEFAULT_CONTENT,
        existence_threshold: float | None = None,
    ) -> None:
        super().__init__(
            "llava-tools",
            version=__version__,
            title="LLaVA",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
        )
        directories, hosts = tuple(allowed_directories), tuple(allowed_hosts)

        def make_session() -> Session:
            store = ImageStore(store_bytes)
            return Session(store, ImageResolver(store, directories, hosts))

        self.middleware.append(_hide_errors)
        self.sessions = Sessions(make_session)
        self._model = model
        self._content = content
        resolver = make_session().resolver
        self._tools = make_tools(tools, resolver, index, model, existence_threshold)
        self._descriptions = [
            describe_tool(tool, open_world=bool(hosts)) for tool in self._tools.values()
        ]

    async def _list_tools(
        self, context: _Context, params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=self._descriptions)

    async def _call_tool(self, context: _Context, params: CallToolRequestParams) -> CallToolResult:
        tool = self._tools.get(params.name)
        if tool is None:
            known = ", ".join(self._tools)
            raise MCPError(INVALID_PARAMS, f"There is no tool {params.name!r:.80}, but {known}.")
        resolver = self.sessions.find(context).resolver
        try:
            arguments = parse_arguments(tool, params.arguments)
            async with Progress(context.session.report_progress) as progress:
                sender = ProgressSender(self._model, progress)
                result = await tool.arun(sender, arguments, resolver)
            version = context.protocol_version
            return await asyncio.to_thread(to_call_result, result, version, self._content)
        except LlavaToolsError as error:
            _log.info("%s: %s", params.name, error)
            return CallToolResult(
                content=[TextContent(type="text", text=str(error))], is_error=True
            )

    async def _list_resources(
        self, context: _Context, params: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        return resources.list_images(self.sessions.find(context).store)

    async def _list_templates(
        self, context: _Context, params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        return resources.list_templates()

    async def _read_resource(
        self, context: _Context, params: ReadResourceRequestParams
    ) -> ReadResourceResult:
        store = self.sessions.find(context).store
        return await asyncio.to_thread(resources.read_image, store, params.uri)


async def _hide_errors(ctx: _Context, call_next: CallNext) -> HandlerResult:
    """Log unforeseen errors, and show clients none of their text, which may have secrets."""
    try:
        return await call_next(ctx)
    except (MCPError, ValidationError):  # texts for clients
        raise
    except Exception as error:
        _log.exception("%s failed", ctx.method)
        raise MCPError(INTERNAL_ERROR, "The server failed; its log says why.") from error
