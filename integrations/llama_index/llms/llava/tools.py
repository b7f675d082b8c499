"""LlamaIndex's tools and output classes in, a `Constraint` out; calls in answers read back.

Tools travel through a call's keywords in OpenAI's layout, as with other LlamaIndex LLMs, so that
events and callbacks can write them down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import BaseTool
from pydantic import BaseModel, PydanticUserError
from pydantic_core import from_json

from llava_tools.chat import openai_schema
from llava_tools.chat.openai_schema import answer_schema, tool_spec
from llava_tools.core.constraints import FREE, Constraint, Schema
from llava_tools.errors import OutputError, RequestError, SchemaError

#: What a call may bring besides its sampling.
NAMES = ("tools", "tool_choice", "allow_parallel_tool_calls", "response_format", "strict")

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
    """Translate what an answer has to be.

    Raises:
        RequestError: Something that is no tool, choice or format.
        SchemaError: Arguments or an output class that have no JSON schema.
    """
    choice = openai_schema.tool_choice(None if tool_choice is False else tool_choice)
    if not tools and response_format is None and choice == "auto":
        return FREE
    return Constraint(
        tools=tuple(tool_spec(describe(tool)) for tool in tools or ()),
        tool_choice=choice,
        parallel_tool_calls=allow_parallel_tool_calls,
        schema=_schema(response_format),
        strict=strict,
    )


def describe(tool: Tool) -> Mapping[str, Any]:
    """Return a tool in OpenAI's layout.

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
    about = tool.metadata
    name = about.get_name()
    parameters = (
        about.get_parameters_dict() if about.fn_schema is None else schema_of(about.fn_schema)
    )
    function = {
        "name": name,
        "description": _without_signature(about.description, name),
        "parameters": parameters,
    }
    return {"type": "function", "function": function}


def describe_output(output_cls: type[BaseModel]) -> dict[str, Any]:
    """Return the `response_format` of an output class, in OpenAI's layout.

    Raises:
        SchemaError: It has no JSON schema.
    """
    told = {"name": output_cls.__name__, "schema": schema_of(output_cls), "strict": True}
    return {"type": "json_schema", "json_schema": told}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a pydantic model.

    Raises:
        SchemaError: It has a field that JSON cannot hold.
    """
    try:
        return model.model_json_schema()
    except PydanticUserError as error:
        raise SchemaError(
            f"{model.__name__} has no JSON schema: {error.message}",
            "Give every field a type that JSON can hold.",
        ) from error


def selections(response: ChatResponse, *, demanded: bool) -> list[ToolSelection]:
    """Return the calls of an answer, or of one on its way, with the arguments as far as they came.

    Raises:
        OutputError: There is none, although one is `demanded`.
    """
    blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
    if demanded and not blocks:
        raise OutputError("The answer calls no tool.", "Set tool_required=True to have one called.")
    return [
        ToolSelection(
            tool_id=block.tool_call_id or "",
            tool_name=block.tool_name,
            tool_kwargs=_arguments(block.tool_kwargs),
        )
        for block in blocks
    ]


def _arguments(told: dict[str, Any] | str) -> dict[str, Any]:
    if isinstance(told, str):
        told = from_json(told, allow_partial="trailing-strings") if told.strip() else {}
    return told if isinstance(told, dict) else {}


def _schema(form: ResponseFormat) -> Schema | None:
    if isinstance(form, type) and issubclass(form, BaseModel):
        return schema_of(form)
    if form is None or isinstance(form, Mapping):
        return None if form is None else answer_schema(form)
    raise RequestError(
        f"response_format={form!r:.80} is not possible.",
        "Use a pydantic model or {'type': 'json_schema', 'json_schema': {'schema': {…}}}.",
    )


def _without_signature(description: str, name: str) -> str:
    """Return a description without the signature that FunctionTool puts before it.

    The model is shown the arguments anyway, in the words that it knows (llava_tools.chat.signatures).
    """
    first, _, rest = description.partition("\n")
    return rest if first.startswith(f"{name}(") else description
