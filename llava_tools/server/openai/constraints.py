"""Tools, tool choices and response formats of OpenAI's API as the `Constraint` of a request.

Chat completions nest a function in `function` and a schema in `json_schema`; responses have both
flat. `chat.openai_schema` reads either form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from llava_tools.chat import openai_schema
from llava_tools.core.constraints import UNCONSTRAINED, Constraint, ToolSpec
from llava_tools.errors import RequestError
from llava_tools.server.bodies import Body


class Function(Body):
    """A function that the client can run."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Body):
    """A function as a tool of a chat completion."""

    type: Literal["function"]
    function: Function


class JsonSchema(Body):
    """A schema with its name."""

    name: str
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """The form of the answer of a chat completion."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


Choice = str | dict[str, Any] | None


def to_constraint(
    tools: Sequence[Body],
    choice: Choice,
    answer_format: Body | None,
    *,
    parallel: bool | None = None,
    describe: bool = True,
) -> Constraint:
    """Return the constraint of a request.

    Args:
        tools: In either form.
        choice: `auto`, `none`, `required`, or a dict that names a tool or several.
        answer_format: In either form; None for text.
        parallel: Whether one answer may contain several calls.
        describe: Whether the prompt describes the schema of the answer.

    Raises:
        RequestError: An impossible tool, choice or format.
    """
    if not tools and answer_format is None and choice in (None, "auto", "none"):
        return UNCONSTRAINED
    dicts = [tool.model_dump(by_alias=True, exclude_none=True) for tool in tools]
    specs = tuple(openai_schema.tool_spec(tool) for tool in dicts)
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        specs, choice = _allowed(specs, choice)
    form = answer_format.model_dump(by_alias=True, exclude_none=True) if answer_format else {}
    return Constraint(
        specs,
        openai_schema.tool_choice(choice),
        parallel_tool_calls=parallel is not False,
        schema=openai_schema.answer_schema(form) if form else None,
        describe=describe,
        strict=any(_is_strict(item) for item in (*dicts, form)),
    )


def _is_strict(item: Mapping[str, Any]) -> bool:
    """Return whether a tool or a format must be enforced in full; OpenAI's default is that not."""
    inner = item.get("function") or item.get("json_schema") or item
    return inner.get("strict") is True


def _allowed(
    specs: tuple[ToolSpec, ...], choice: Mapping[str, Any]
) -> tuple[tuple[ToolSpec, ...], Choice]:
    """Return the tools that `allowed_tools` names, and its mode."""
    inner = choice.get("allowed_tools", choice)
    tools = inner.get("tools") if isinstance(inner, Mapping) else None
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise RequestError(
            f"tool_choice={dict(choice)!r:.120} names no tools.",
            "Use {'type': 'allowed_tools', 'allowed_tools': {'mode': 'auto', 'tools': […]}}.",
        )
    names = [openai_schema.tool_choice(tool) for tool in tools]
    known = {spec.name: spec for spec in specs}
    for name in names:
        if name not in known:
            raise RequestError(
                f"tool_choice allows {name!r:.80}, which is no tool of the request.",
                f"Use: {', '.join(known) or 'none, there are no tools'}.",
            )
    mode = inner.get("mode")
    if mode not in ("auto", "required"):
        raise RequestError(f"The mode {mode!r:.80} is not possible.", "Use 'auto' or 'required'.")
    return tuple(known[name] for name in dict.fromkeys(names)), mode
