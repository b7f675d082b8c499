"""LlavaToolkit: how LangChain's planners see the visual tools, and what they read of results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.messages import ToolCall as Called
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_llava import LlavaToolkit
from llava_tools.model import Llava
from tests.golden.plain import outcome, plain_json
from tests.golden.visual_tools import (
    CALLS,
    WRONG_CALLS,
    Shelf,
    arguments_of,
    known_images,
    scripted,
    shown_to_model,
)


def _tools(**options: Any) -> list[BaseTool]:
    kit = LlavaToolkit(llm=Llava(backend=scripted()), image_store=known_images(), **options)
    return kit.get_tools()


def _tool_as_dict(tool: BaseTool) -> dict[str, Any]:
    function = convert_to_openai_tool(tool)["function"]
    return {
        "name": tool.name,
        "description": tool.description,
        "arguments": {name: plain_json(schema) for name, schema in tool.args.items()},
        "order_of_arguments": list(tool.args),
        "as_openai": plain_json(function),
        "content_and_artifact": tool.response_format == "content_and_artifact",
    }


def _described(**options: Any) -> list[dict[str, Any]]:
    return [_tool_as_dict(tool) for tool in _tools(**options)]


def _called(name: str, arguments: dict[str, Any], *script: str, **options: Any) -> dict[str, Any]:
    backend = scripted(*script)
    kit = LlavaToolkit(
        llm=Llava(backend=backend), image_store=known_images(), index=Shelf(), **options
    )
    call = Called(name=name, args=arguments_of(name, arguments), id="c1", type="tool_call")

    def run() -> dict[str, Any]:
        (tool,) = [tool for tool in kit.get_tools() if tool.name == name]
        message = tool.invoke(call, {"max_concurrency": 1})  # the script is in order
        return {
            "content": message.content,
            "status": message.status,
            "name": message.name,
            "call_id": message.tool_call_id,
            "artifact": None if message.artifact is None else message.artifact.model_dump(),
        }

    return {"message": outcome(run), "requests": len(shown_to_model(backend))}


CASES: dict[str, Callable[[], Any]] = {
    "described": _described,
    "described with an index": partial(_described, index=Shelf()),
    "described where folders are allowed": partial(
        _described, allowed_directories=(Path(__file__).parent,)
    ),
    "some of them": partial(_described, tools=("zoom", "look")),
    **{
        f"call: {name}": partial(_called, tool, arguments, *script)
        for name, tool, arguments, script in CALLS
    },
    **{
        f"wrong: {name}": partial(_called, tool, arguments, *script)
        for name, tool, arguments, script in WRONG_CALLS
    },
    "raised: unknown image": partial(
        _called, "look", {"image": "img_1", "question": "?"}, raise_errors=True
    ),
}
