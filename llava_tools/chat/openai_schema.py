"""Parses tools, tool choices and response formats of OpenAI's API, which frameworks also use.

Schemas come wrapped in several ways: `{"type": "function", "function": …}`, `{"type":
"json_schema", "json_schema": …}`, Bedrock's `{"toolSpec": …}`, and the inner dicts alone, with the
schema under `parameters`, `schema`, `input_schema` (Anthropic's) or `inputSchema` (MCP's).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from llava_tools.core.constraints import TOOL_CHOICE_MODES, Schema, ToolSpec
from llava_tools.errors import RequestError

#: Types of `response_format`.
RESPONSE_FORMATS = ("text", "json_object", "json_schema")
#: The schema of `{"type": "json_object"}`.
ANY_OBJECT: Schema = {"type": "object"}


_WRAPPERS = ("function", "json_schema", "toolSpec")
_SCHEMA_KEYS = ("parameters", "schema", "input_schema", "inputSchema")
_OUTPUT_KEYS = ("outputSchema", "output_schema")
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "$defs", "definitions"})


def tool_spec(tool: Mapping[str, Any]) -> ToolSpec:
    """Return the tool of a dict; see above for the forms.

    Raises:
        RequestError: It has no name, has its schema under an unknown key, or is a tool that the
            API's provider runs itself.
    """
    function = _unwrapped(tool)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RequestError(
            f"The tool {dict(tool)!r:.120} is not a function that the caller can run.",
            "Use {'type': 'function', 'function': {'name': …, 'parameters': …}}; tools that a "
            "provider runs do not exist here.",
        )
    parameters = _inner_schema(function)
    if parameters is None:
        _check_no_other_schema(function)
    options = {} if parameters is None else {"parameters": parameters}
    return ToolSpec(function["name"], str(function.get("description") or ""), **options)


def _check_no_other_schema(function: Mapping[str, Any]) -> None:
    """Refuse a tool whose schema would be ignored, since its key is misspelled."""
    for key, value in function.items():
        if key not in _OUTPUT_KEYS and isinstance(value, Mapping) and "properties" in value:
            raise RequestError(
                f"The tool {function['name']!r} has a schema under {key!r:.80}, which is not read.",
                f"Use one of: {', '.join(_SCHEMA_KEYS)}.",
            )


def is_wrapped(schema: Mapping[str, Any]) -> bool:
    """Return whether a dict is a tool or names a schema in it, rather than being a schema."""
    if any(isinstance(schema.get(key), Mapping) for key in _WRAPPERS):
        return True
    return any(key in schema for key in _SCHEMA_KEYS) and isinstance(schema.get("name"), str)


def plain_schema(schema: Mapping[str, Any]) -> Schema:
    """Return a JSON schema without what it is wrapped in, with the wrapper's description.

    Raises:
        RequestError: There is no schema in it.
    """
    if not is_wrapped(schema):
        from jsonschema import Draft202012Validator

        known = _ANNOTATIONS | Draft202012Validator.VALIDATORS.keys() | {"$schema", "$id"}
        if schema and not known & schema.keys():
            raise RequestError(
                f"{dict(schema)!r:.120} has no keyword of JSON Schema.",
                "Use {'type': 'object', 'properties': {…}}.",
            )
        return ANY_OBJECT if schema.get("type") == "json_object" else schema
    named = _unwrapped(schema)
    inner = ANY_OBJECT if (found := _inner_schema(named)) is None else found
    if isinstance(inner, Mapping) and isinstance(named.get("description"), str):
        return {"description": named["description"], **inner}
    return inner


def _unwrapped(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the dict with the name and the schema."""
    for key in _WRAPPERS:
        if key in value:
            return cast(Mapping[str, Any], value[key])
    return value


def _inner_schema(named: Mapping[str, Any]) -> Schema | None:
    """Return the schema of a dict with a name; None if there is none."""
    for key in _SCHEMA_KEYS:
        if (schema := named.get(key)) is not None:
            inner = schema.get("json") if isinstance(schema, Mapping) else None  # Bedrock's
            return cast(Schema, inner if key == "inputSchema" and inner is not None else schema)
    return None


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
    type_, inner = response_format.get("type"), _unwrapped(response_format)
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    if type_ == "text":
        return None
    if type_ == "json_object":
        return ANY_OBJECT
    if type_ == "json_schema" and isinstance(schema, Mapping):
        return cast(Schema, schema)
    if type_ not in RESPONSE_FORMATS and is_wrapped(response_format):
        return plain_schema(response_format)
    raise RequestError(
        f"response_format={dict(response_format)!r:.120} holds no schema.",
        "Use {'type': 'json_schema', 'json_schema': {'name': …, 'schema': {…}}}.",
    )
