"""Converts LlamaIndex's tools and output classes into a `Constraint`, and tool calls back.

In a call's keywords, tools are dicts in OpenAI's format, as in other LlamaIndex LLMs, so that
events and callbacks can serialize them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import BaseTool
from pydantic import BaseModel
from pydantic_core import from_json

from llava_tools.chat import openai_schema
from llava_tools.core import class_schema
from llava_tools.core.constraints import UNCONSTRAINED, Constraint, Schema
from llava_tools.errors import OutputError, RequestError

#: Options of a call besides sampling: the keywords of `to_constraint`.
CALL_OPTIONS = ("tools", "tool_choice", "allow_parallel_tool_calls", "response_format", "strict")

Tool = BaseTool | Mapping[str, Any]
ToolChoice = str | bool | Mapping[str, Any] | None
ResponseFormat = type[BaseModel] | Mapping[str, Any] | None


def to_constraint(
    tools: Sequence[Tool] | None = None,
    tool_choice: ToolChoice = None,
    allow_parallel_tool_calls: bool = True,
    response_format: ResponseFormat = None,
    strict: bool = True,
) -> Constraint:
    """Return the constraint of a call's keywords.

    Raises:
        RequestError: An invalid tool, choice or format.
        SchemaError: Arguments or an output class that have no JSON schema.
    """
    choice = openai_schema.tool_choice(None if tool_choice is False else tool_choice)
    if not tools and response_format is None and choice == "auto":
        return UNCONSTRAINED
    return Constraint(
        tools=tuple(openai_schema.tool_spec(tool_dict(tool)) for tool in tools or ()),
        tool_choice=choice,
        parallel_tool_calls=allow_parallel_tool_calls,
        schema=_answer_schema(response_format),
        strict=strict,
    )


def tool_dict(tool: Tool) -> Mapping[str, Any]:
    """Return a tool as OpenAI's dict.

    Raises:
        RequestError: It is no tool.
        SchemaError: Its arguments have no JSON schema.
    """
    if isinstance(tool, Mapping):
        return tool
    if not isinstance(tool, BaseTool):
        raise RequestError(
            f"{type(tool).__name__} is not a tool.", "Wrap it: FunctionTool.from_defaults(…)."
        )
    metadata = tool.metadata
    name, arguments = metadata.get_name(), metadata.fn_schema
    schema = class_schema.of_class(arguments) if arguments else metadata.get_parameters_dict()
    function = {
        "name": name,
        "description": _without_signature(metadata.description, name),
        "parameters": schema,
    }
    return {"type": "function", "function": function}


def format_dict(output_cls: type[BaseModel]) -> dict[str, Any]:
    """Return the `response_format` of an output class as OpenAI's dict.

    Raises:
        SchemaError: It has no JSON schema.
    """
    schema = {
        "name": output_cls.__name__,
        "schema": class_schema.of_class(output_cls),
        "strict": True,
    }
    return {"type": "json_schema", "json_schema": schema}


def tool_selections(response: ChatResponse, *, required: bool) -> list[ToolSelection]:
    """Return the tool calls of a response or a chunk, with the arguments received so far.

    Raises:
        OutputError: There is none, although one is `required`.
    """
    blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
    if required and not blocks:
        raise OutputError("The answer calls no tool.", "Set tool_required=True to have one called.")
    return [
        ToolSelection(
            tool_id=block.tool_call_id or "",
            tool_name=block.tool_name,
            tool_kwargs=_arguments(block.tool_kwargs),
        )
        for block in blocks
    ]


def _arguments(arguments: dict[str, Any] | str) -> dict[str, Any]:
    """Return arguments as a dict; an unfinished JSON string is parsed as far as it goes."""
    if isinstance(arguments, str):
        arguments = from_json(arguments.strip() or "{}", allow_partial="trailing-strings")
    return arguments if isinstance(arguments, dict) else {}


def _answer_schema(response_format: ResponseFormat) -> Schema | None:
    if response_format is None:
        return None
    if isinstance(response_format, type) and issubclass(response_format, BaseModel):
        return class_schema.of_class(response_format)
    if isinstance(response_format, Mapping):
        return openai_schema.answer_schema(response_format)
    raise RequestError(
        f"response_format={response_format!r:.80} is not possible.",
        "Use a pydantic model or {'type': 'json_schema', 'json_schema': {'schema': {…}}}.",
    )


def _without_signature(description: str, name: str) -> str:
    """Return a description without the signature that FunctionTool puts in its first line.

    `llava_tools.chat.signatures` writes the arguments into the prompt in the model's own format.
    """
    first, _, rest = description.partition("\n")
    return rest if first.startswith(f"{name}(") else description
