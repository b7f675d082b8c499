"""Parses tools, tool choices and response formats of OpenAI's API, which frameworks also use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from llava_tools.core.constraints import TOOL_CHOICE_MODES, Schema, ToolSpec
from llava_tools.errors import RequestError

#: Types of `response_format`.
RESPONSE_FORMATS = ("text", "json_object", "json_schema")
#: The schema of `{"type": "json_object"}`.
ANY_OBJECT: Schema = {"type": "object"}


def tool_spec(tool: Mapping[str, Any]) -> ToolSpec:
    """Return the tool of `{"type": "function", "function": {…}}`, or of the inner dict alone.

    Raises:
        RequestError: It has no name, or is a tool that the API's provider runs itself.
    """
    function = tool.get("function", tool)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RequestError(
            f"The tool {dict(tool)!r:.120} is not a function that the caller can run.",
            "Use {'type': 'function', 'function': {'name': …, 'parameters': …}}; tools that a "
            "provider runs do not exist here.",
        )
    parameters = function.get("parameters")
    options = {} if parameters is None else {"parameters": parameters}
    return ToolSpec(function["name"], str(function.get("description") or ""), **options)


def tool_choice(choice: object) -> str:
    """Return the value of `Constraint.tool_choice` for a framework's choice.

    Args:
        choice: None or 'auto', 'none', 'any', 'required' or True, a tool's name, OpenAI's dict
            (`{"type": "function", "function": {"name": …}}`) or Anthropic's (`{"type": "tool",
            "name": …}`, `{"type": "any"}`).

    Raises:
        RequestError: Anything else.
    """
    result: object
    if isinstance(choice, Mapping):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
        mode = choice.get("type")
        if isinstance(name, str):
            result = None if name in TOOL_CHOICE_MODES else name
        else:
            result = mode if mode in ("auto", "any", "none") else None
    else:
        result = "auto" if choice is None else "any" if choice is True else choice
    if not isinstance(result, str):
        raise RequestError(
            f"tool_choice={choice!r:.120} is not possible.",
            "Use 'auto', 'any', 'none', the name of a tool, or "
            "{'type': 'function', 'function': {'name': …}}.",
        )
    return "any" if result == "required" else result


def answer_schema(response_format: Mapping[str, Any]) -> Schema | None:
    """Return the schema of a `response_format`; None for text.

    Raises:
        RequestError: It has no schema.
    """
    type_, inner = response_format.get("type"), response_format.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    if type_ == "text":
        return None
    if type_ == "json_object":
        return ANY_OBJECT
    if type_ == "json_schema" and isinstance(schema, Mapping):
        return cast(Schema, schema)
    raise RequestError(
        f"response_format={dict(response_format)!r:.120} holds no schema.",
        "Use {'type': 'json_schema', 'json_schema': {'name': …, 'schema': {…}}}.",
    )
