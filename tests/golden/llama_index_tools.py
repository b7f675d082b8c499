"""LlavaToolSpec: how LlamaIndex's planners see the visual tools, and what they read of results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from llama_index.core.tools import FunctionTool

from llama_index.tools.llava import LlavaToolSpec
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


def _parameters(tool: FunctionTool) -> dict[str, Any]:
    """Return a tool's arguments without the title and text of the class that checks them."""
    assert tool.metadata.fn_schema is not None
    schema = plain_json(tool.metadata.fn_schema.model_json_schema())
    return {key: schema[key] for key in schema if key not in ("title", "description")}


def _tool_as_dict(tool: FunctionTool) -> dict[str, Any]:
    parameters = _parameters(tool)
    return {
        "name": tool.metadata.name,
        "description": tool.metadata.description,
        "parameters": parameters,
        "order_of_arguments": list(parameters["properties"]),
        "as_openai": plain_json(tool.metadata.get_parameters_dict()),
    }


def _described(**options: Any) -> list[dict[str, Any]]:
    spec = LlavaToolSpec(Llava(backend=scripted()), image_store=known_images(), **options)
    return [_tool_as_dict(tool) for tool in spec.to_tool_list()]


def _called(name: str, arguments: dict[str, Any], *script: str) -> dict[str, Any]:
    backend = scripted(*script)
    spec = LlavaToolSpec(Llava(backend=backend), image_store=known_images(), index=Shelf())

    def run() -> dict[str, Any]:
        (tool,) = spec.to_tool_list([name])
        output = tool.call(**arguments_of(name, arguments))
        return {
            "content": output.content,
            "name": output.tool_name,
            "input": plain_json(output.raw_input),
            "output": output.raw_output.model_dump(),
        }

    return {"output": outcome(run), "requests": len(shown_to_model(backend))}


CASES: dict[str, Callable[[], Any]] = {
    "described": partial(_described, index=Shelf()),
    "described where folders are allowed": partial(
        _described, allowed_directories=[Path(__file__).parent]
    ),
    "some of them": partial(_described, tools=["zoom", "look"]),
    **{
        f"call: {name}": partial(_called, tool, arguments, *script)
        for name, tool, arguments, script in CALLS
    },
    **{
        f"wrong: {name}": partial(_called, tool, arguments, *script)
        for name, tool, arguments, script in WRONG_CALLS
    },
}
