"""The tools of the server: the visual ones, and those for images and documents of MCP's clients."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mcp_types import Tool, ToolAnnotations
from pydantic import BaseModel, TypeAdapter

from llava_tools.errors import RequestError, unknown_option
from llava_tools.images.access import ImageResolver
from llava_tools.model import Llava
from llava_tools.server.mcp.add_image import AddImageResult, make_add_image
from llava_tools.server.mcp.resources import handle_of
from llava_tools.tools import OPTIONAL_TOOLS, VisualTool, result_type, select_tools

if TYPE_CHECKING:
    from llava_tools.retrieval import PageIndex

#: Tools that search an index.
INDEX_TOOLS = ("find", "ask_documents")


def make_tools(
    names: Iterable[str] | None,
    resolver: ImageResolver,
    index: PageIndex | None,
    model: Llava,
    existence_threshold: float | None = None,
) -> dict[str, VisualTool[Any, Any]]:
    """Return the named tools, or all but the optional ones, by name.

    Args:
        names: Of the tools.
        resolver: One that opens what calls may name.
        index: Searched by `find` and `ask_documents`.
        model: Looks at the pages of the index.
        existence_threshold: See `llava_tools.tools.select_tools`.

    Raises:
        RequestError: An unknown name, or one of a tool that needs an index, without one; or an
            impossible threshold.
    """
    if isinstance(names, str):
        raise RequestError(f"tools={names!r:.80} is not possible.", "Use a list of names.")
    tools: dict[str, VisualTool[Any, Any]] = {}
    tools["add_image"] = make_add_image(handles_only=resolver.handles_only)
    selected = select_tools(index=index, existence_threshold=existence_threshold)
    tools |= {tool.name: tool.for_resolver(resolver) for tool in selected}
    if index is not None:
        from llava_tools.server.mcp.documents import make_ask_documents  # loads slowly

        tools["ask_documents"] = make_ask_documents(index, model)
    names = list(tools if names is None else names)
    tools |= {name: tool.for_resolver(resolver) for name, tool in OPTIONAL_TOOLS.items()}
    for name in names:
        if name in INDEX_TOOLS and index is None:
            raise RequestError(f"The tool {name} needs an index.", "Pass one: --index DIR.")
        if name not in tools:
            raise unknown_option(name, tools, "tools")
    return {name: tools[name] for name in names}


def describe_tool(tool: VisualTool[Any, Any], *, open_world: bool) -> Tool:
    """Return a tool as MCP describes it.

    Args:
        tool: The tool.
        open_world: Whether its calls may fetch images from other hosts.
    """
    return Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.parameters,
        output_schema=_output_schema(tool),
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=open_world),
    )


def parse_arguments(tool: VisualTool[Any, Any], arguments: Mapping[str, Any] | None) -> BaseModel:
    """Check the arguments of a call, in the forms in which planners write them over MCP.

    A list may be written as JSON, as Claude Desktop does, and an image by the URI of its resource.

    Raises:
        RequestError: Arguments that do not fit; the message names them.
    """
    properties = tool.parameters["properties"]
    parsed = dict(arguments or {})
    for name, value in parsed.items():
        if isinstance(value, str) and properties.get(name, {}).get("type") == "array":
            with suppress(ValueError):  # the check of the arguments names it
                parsed[name] = json.loads(value)
    if "image" in parsed:
        parsed["image"] = handle_of(parsed["image"])
    if isinstance(parsed.get("images"), list):
        parsed["images"] = list(map(handle_of, parsed["images"]))
    result: BaseModel = tool.parse(parsed)
    return result


def _output_schema(tool: VisualTool[Any, Any]) -> dict[str, Any]:
    # MCP wants the type of an object at the top, also above the two schemas of a union.
    return {"type": "object"} | TypeAdapter(_result_type(tool)).json_schema()


def _result_type(tool: VisualTool[Any, Any]) -> Any:
    if tool.name == "add_image":
        return AddImageResult
    if tool.name == "ask_documents":
        from llava_tools.server.mcp.documents import AskDocumentsResult  # loads slowly

        return AskDocumentsResult
    return result_type(tool)
