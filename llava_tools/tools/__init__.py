"""Visual tools for agents, whatever framework or model plans: one spec each.

    from llava_tools import Llava, tools
    album = tools.Album()
    handle = album.add("street.jpg")
    found = tools.call(Llava(), "locate", {"image": handle, "thing": "the red car"})

Pictures are named by handles (`img_…`), so that a planner that cannot see passes them on as text.
Finding pictures comes with retrieval, which is not there yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llava_tools.errors import unknown_option
from llava_tools.model import Llava
from llava_tools.tools.album import Album
from llava_tools.tools.choose import choose
from llava_tools.tools.compare import compare
from llava_tools.tools.count import count
from llava_tools.tools.geometry import Box
from llava_tools.tools.locate import locate
from llava_tools.tools.look import describe, look, read_text
from llava_tools.tools.spec import Result, VisualTool
from llava_tools.tools.zoom import zoom

__all__ = [
    "TOOLS",
    "Album",
    "Box",
    "Result",
    "VisualTool",
    "call",
    "named",
    "openai_tools",
]

#: Every tool by its name.
TOOLS: Mapping[str, VisualTool[Any, Any]] = {
    tool.name: tool for tool in (look, describe, read_text, locate, count, compare, choose, zoom)
}


def named(names: Iterable[str] | None = None) -> list[VisualTool[Any, Any]]:
    """Return tools by their names, or all of them.

    Raises:
        RequestError: There is no tool of a name.
    """
    chosen = list(TOOLS if names is None else names)
    for name in chosen:
        if name not in TOOLS:
            raise unknown_option(name, TOOLS, "llava_tools.tools")
    return [TOOLS[name] for name in chosen]


def openai_tools(
    names: Iterable[str] | None = None, album: Album | None = None
) -> list[dict[str, Any]]:
    """Return tools as OpenAI's `tools` parameter takes them.

    Args:
        names: Which; all by default.
        album: Which pictures may be named; by default those in the gallery of the process.

    Raises:
        RequestError: There is no tool of a name.
    """
    described = []
    for tool in named(names):
        shown = tool if album is None else tool.for_album(album)
        function = {
            "name": shown.name,
            "description": shown.description,
            "parameters": shown.parameters,
        }
        described.append({"type": "function", "function": function})
    return described


def call(model: Llava, name: str, arguments: object, album: Album | None = None) -> Result:
    """Run a tool as an agent called it; `str(result)` is what to tell the agent.

    Args:
        model: Who looks.
        name: Name of the tool.
        arguments: A mapping, or its JSON, as OpenAI's tool calls carry it.
        album: Which pictures may be named; by default those in the gallery of the process.

    Raises:
        RequestError: No such tool, bad arguments, an unknown picture.
        ModelError: The model cannot be loaded.
        EngineError: The engine could not finish, or gave no usable answer.
    """
    (tool,) = named([name])
    result: Result = tool.run(model, tool.parse(arguments), album)
    return result
