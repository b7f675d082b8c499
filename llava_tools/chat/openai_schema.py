"""Tools, choices and formats of answers in OpenAI's layout, which every framework passes around.

Frameworks turn their own tools and classes into this layout; here it becomes the backend interface's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from llava_tools.core.constraints import Schema, ToolSpec
from llava_tools.errors import RequestError

#: Types of `response_format`.
FORMATS = ("text", "json_object", "json_schema")
#: The schema of `{"type": "json_object"}`.
ANY_OBJECT: Schema = {"type": "object"}


def tool_spec(tool: Mapping[str, Any]) -> ToolSpec:
    """Return a tool: `{"type": "function", "function": {…}}`, or the inner dict alone.

    Raises:
        RequestError: It has no name, or is one that a provider runs itself.
    """
    function = tool.get("function", tool)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RequestError(
            f"The tool {dict(tool)!r:.120} is none that this model can call.",
            "Use {'type': 'function', 'function': {'name': …, 'parameters': …}}; tools that a "
            "provider runs itself do not exist here.",
        )
    parameters = function.get("parameters")
    known = {} if parameters is None else {"parameters": parameters}
    return ToolSpec(function["name"], str(function.get("description") or ""), **known)


def tool_choice(given: object) -> str:
    """Return how tools are chosen (`Constraint.choice`).

    Args:
        given: None or 'auto', 'none', 'any', 'required' or True, a tool's name, OpenAI's dict
            (`{"type": "function", "function": {"name": …}}`) or Anthropic's (`{"type": "tool",
            "name": …}`, `{"type": "any"}`).

    Raises:
        RequestError: Anything else.
    """
    if isinstance(given, Mapping):
        function = given.get("function")
        name = function.get("name") if isinstance(function, Mapping) else given.get("name")
        choice = name if isinstance(name, str) else given.get("type")
        known = choice == name or choice in ("auto", "any", "none")
    else:
        choice = "auto" if given is None else "any" if given is True else given
        known = True
    if not isinstance(choice, str) or not known:
        raise RequestError(
            f"tool_choice={given!r:.120} is not possible.",
            "Use 'auto', 'any', 'none', the name of a tool, or "
            "{'type': 'function', 'function': {'name': …}}.",
        )
    return "any" if choice == "required" else choice


def answer_schema(given: Mapping[str, Any]) -> Schema | None:
    """Return the schema that a `response_format` asks for; None if that is text.

    Raises:
        RequestError: It is none, or holds no schema.
    """
    inner = given.get("json_schema")
    if given.get("type") == "text":
        return None
    if given.get("type") == "json_object":
        return ANY_OBJECT
    if given.get("type") == "json_schema" and isinstance(inner, Mapping):
        schema = inner.get("schema")
        if isinstance(schema, Mapping):
            return cast(Schema, schema)
    raise RequestError(
        f"response_format={dict(given)!r:.120} holds no schema.",
        "Use {'type': 'json_schema', 'json_schema': {'name': …, 'schema': {…}}}.",
    )
