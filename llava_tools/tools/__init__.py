"""Visual tools for agents, whatever framework or model plans: one spec each.

    from llava_tools import Llava, tools
    image resolver = tools.Album()
    handle = image resolver.add("street.jpg")
    found = tools.call(Llava(), "locate", {"image": handle, "thing": "the red car"})

Images are named by handles (`img_…`), so that a planner that cannot see passes them on as text.
Given an index (`llava_tools.retrieval.PageIndex`), there is a ninth one, `find`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llava_tools.errors import RequestError, unknown_option
from llava_tools.images.access import ImageResolver
from llava_tools.model import Llava
from llava_tools.tools.choose import choose
from llava_tools.tools.compare import compare
from llava_tools.tools.count import count
from llava_tools.tools.find import NAME as FIND
from llava_tools.tools.find import Findable, finder
from llava_tools.tools.geometry import Box
from llava_tools.tools.locate import locate
from llava_tools.tools.look import describe, look, read_text
from llava_tools.tools.spec import Result, VisualTool
from llava_tools.tools.zoom import zoom

__all__ = [
    "TOOLS",
    "Album",
    "Box",
    "Findable",
    "Result",
    "VisualTool",
    "call",
    "named",
    "openai_tools",
]

#: Every tool that needs no index, by its name.
TOOLS: Mapping[str, VisualTool[Any, Any]] = {
    tool.name: tool for tool in (look, describe, read_text, locate, count, compare, choose, zoom)
}


def named(
    names: Iterable[str] | None = None, index: Findable | None = None
) -> list[VisualTool[Any, Any]]:
    """Return tools by their names, or all of them: with an index, `find` too.

    Raises:
        RequestError: There is no tool of a name, or `find` is wanted without an index.
    """
    known = TOOLS if index is None else {**TOOLS, FIND: finder(index)}
    chosen = list(known if names is None else names)
    for name in chosen:
        if name == FIND and index is None:
            raise RequestError(
                "The tool find needs an index.", "Give one: index=PageIndex('my-index')."
            )
        if name not in known:
            raise unknown_option(name, known, "llava_tools.tools")
    return [known[name] for name in chosen]


def openai_tools(
    names: Iterable[str] | None = None,
    resolver: ImageResolver | None = None,
    index: Findable | None = None,
) -> list[dict[str, Any]]:
    """Return tools as OpenAI's `tools` parameter takes them.

    Args:
        names: Which; all by default.
        resolver: Which images may be named; by default those in the image store of the process.
        index: Where `find` looks; without one there is no such tool.

    Raises:
        RequestError: There is no tool of a name.
    """
    described = []
    for tool in named(names, index):
        shown = tool if resolver is None else tool.for_resolver(resolver)
        function = {
            "name": shown.name,
            "description": shown.description,
            "parameters": shown.parameters,
        }
        described.append({"type": "function", "function": function})
    return described


def call(
    model: Llava,
    name: str,
    arguments: object,
    resolver: ImageResolver | None = None,
    index: Findable | None = None,
) -> Result:
    """Run a tool as an agent called it; `str(result)` is what to tell the agent.

    Args:
        model: Who looks.
        name: Name of the tool.
        arguments: A mapping, or its JSON, as OpenAI's tool calls carry it.
        resolver: Which images may be named; by default those in the image store of the process.
        index: Where `find` looks.

    Raises:
        RequestError: No such tool, bad arguments, an unknown image.
        ModelError: The model cannot be loaded.
        EngineError: The engine could not finish, or gave no usable answer.
    """
    (tool,) = named([name], index)
    result: Result = tool.run(model, tool.parse(arguments), resolver)
    return result
