"""Visual tools for agents, without a framework: each is a `VisualTool`, run by `call`.

`TOOLS` lists those that agents get by default, `OPTIONAL_TOOLS` the others.

    from llava_tools import Llava, tools
    from llava_tools.images.access import ImageResolver
    resolver = ImageResolver()
    handle = resolver.add("street.jpg")
    result = tools.call(Llava(), "locate", {"image": handle, "thing": "the red car"}, resolver)

Handles (`img_…`) name the images, so that a planner without vision can pass them on as text. With
an index (`llava_tools.retrieval.PageIndex`) there is one more tool, `find`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llava_tools.errors import RequestError, unknown_option
from llava_tools.images.access import ImageResolver
from llava_tools.model import Llava
from llava_tools.tools.choose import ChooseResult, choose
from llava_tools.tools.compare import CompareResult, compare
from llava_tools.tools.count import CountResult, count
from llava_tools.tools.existence import AbsentResult, check_existence
from llava_tools.tools.find import FindResult, SearchIndex, make_find_tool
from llava_tools.tools.geometry import Box
from llava_tools.tools.locate import LocateResult, locate
from llava_tools.tools.look import DescribeResult, TextResult, describe, look, read_text
from llava_tools.tools.show_evidence import EvidenceResult, show_evidence
from llava_tools.tools.spec import ToolResult, VisualTool
from llava_tools.tools.zoom import ZoomResult, zoom

__all__ = [
    "OPTIONAL_TOOLS",
    "RESULT_TYPES",
    "TOOLS",
    "AbsentResult",
    "Box",
    "SearchIndex",
    "ToolResult",
    "VisualTool",
    "call",
    "openai_tools",
    "result_type",
    "select_tools",
]

#: The tools that agents get by default without an index, by name.
TOOLS: Mapping[str, VisualTool[Any, Any]] = {
    tool.name: tool for tool in (look, describe, read_text, locate, count, compare, choose, zoom)
}

#: Tools that agents get only by name: they take long, or do not run everywhere.
OPTIONAL_TOOLS: Mapping[str, VisualTool[Any, Any]] = {show_evidence.name: show_evidence}

#: The type of each tool's result, by the tool's name.
RESULT_TYPES: Mapping[str, type[ToolResult]] = {
    "look": TextResult,
    "describe": DescribeResult,
    "read_text": TextResult,
    "locate": LocateResult,
    "count": CountResult,
    "compare": CompareResult,
    "choose": ChooseResult,
    "zoom": ZoomResult,
    "find": FindResult,
    "show_evidence": EvidenceResult,
}


def result_type(tool: VisualTool[Any, Any]) -> Any:
    """Return the type of a tool's results: of `RESULT_TYPES`, or `AbsentResult` as well."""
    own = RESULT_TYPES[tool.name]
    return own | AbsentResult if tool.can_refuse else own


def select_tools(
    names: Iterable[str] | None = None,
    index: SearchIndex | None = None,
    existence_threshold: float | None = None,
) -> list[VisualTool[Any, Any]]:
    """Return the named tools, or those of `TOOLS`, with an index also `find`.

    Args:
        names: Names of the tools.
        index: Searched by `find`.
        existence_threshold: Minimum probability, 0 to 1, that an image shows what a call is about;
            below it, the call returns an `AbsentResult`. None for no check.

    Raises:
        RequestError: An unknown name, `find` without an index, or an impossible threshold.
    """
    if isinstance(names, str):
        raise RequestError(f"tools={names!r:.80} is not possible.", "Use a list of names.")
    default = TOOLS if index is None else {**TOOLS, "find": make_find_tool(index)}
    tools = {**default, **OPTIONAL_TOOLS}
    names = list(default if names is None else names)
    for name in names:
        if name == "find" and index is None:
            raise RequestError(
                "The tool find needs an index.", "Give one: index=PageIndex('my-index')."
            )
        if name not in tools:
            raise unknown_option(name, default, "llava_tools.tools")
    return [check_existence(tools[name], existence_threshold) for name in names]


def openai_tools(
    names: Iterable[str] | None = None,
    resolver: ImageResolver | None = None,
    index: SearchIndex | None = None,
    existence_threshold: float | None = None,
) -> list[dict[str, Any]]:
    """Return tools in the form of OpenAI's `tools` parameter.

    Args:
        names: Names of the tools; by default all but the optional ones.
        resolver: Opens the images that calls name; by default those in the store of the process.
        index: Searched by `find`; without an index there is no such tool.
        existence_threshold: See `select_tools`.

    Raises:
        RequestError: An unknown name, or an impossible threshold.
    """
    keys = ("name", "description", "parameters")
    selected = select_tools(names, index, existence_threshold)
    tools = [tool.for_resolver(resolver or ImageResolver()) for tool in selected]
    functions = [{key: getattr(tool, key) for key in keys} for tool in tools]
    return [{"type": "function", "function": function} for function in functions]


def call(
    model: Llava,
    name: str,
    arguments: object,
    resolver: ImageResolver | None = None,
    index: SearchIndex | None = None,
    existence_threshold: float | None = None,
) -> ToolResult:
    """Run a tool call of an agent; `str(result)` is the text to return to the agent.

    Args:
        model: Looks at the images.
        name: Name of the tool.
        arguments: A mapping, or its JSON, as OpenAI's tool calls have it.
        resolver: See `openai_tools`.
        index: Searched by `find`.
        existence_threshold: See `select_tools`.

    Raises:
        RequestError: An unknown tool or image, or bad arguments.
        ModelError: The model cannot be loaded.
        EngineError: The engine could not finish, or returned no usable answer.
    """
    (tool,) = select_tools([name], index, existence_threshold)
    result: ToolResult = tool.run(model, tool.parse(arguments), resolver)
    return result
