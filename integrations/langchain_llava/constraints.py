"""From LangChain's tools, schemas and response formats to the `Constraint` of a request.

`bind_tools` keeps tools as OpenAI's dicts, which traces and caches can show; each call builds a
`Constraint` from them. The schemas of pydantic classes and functions come from pydantic itself,
because LangChain's conversion inlines references and so loses recursion.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from langchain_core.tools import BaseTool, create_schema_from_function
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import PydanticUserError

from llava_tools.chat.openai_schema import (
    ANY_OBJECT,
    RESPONSE_FORMATS,
    answer_schema,
    is_wrapped,
    plain_schema,
    tool_choice,
    tool_spec,
)
from llava_tools.core import class_schema
from llava_tools.core.constraints import UNCONSTRAINED, Constraint, Schema
from llava_tools.errors import RequestError, SchemaError

Tool = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
ToolChoice = Mapping[str, Any] | str | bool | None

#: Keywords of a call that make up its constraint.
KEYWORDS = (
    "tools",
    "tool_choice",
    "strict",
    "parallel_tool_calls",
    "response_format",
    "describe",
)


def tool_dict(tool: Tool) -> dict[str, Any]:
    """Return a tool as OpenAI's dict.

    Raises:
        RequestError: LangChain cannot convert it, or it is a tool that a provider runs itself.
    """
    if isinstance(tool, Mapping) and is_wrapped(tool):
        spec = tool_spec(tool)
        return _function_dict(spec.name, spec.description, spec.parameters)
    try:
        schema = _schema_class(tool)
        parameters = class_schema.of_class(schema) if is_pydantic(schema) else None
        converted = convert_to_openai_tool(cast(Any, tool))
    except SchemaError:
        raise
    except (ValueError, TypeError, KeyError, PydanticUserError) as error:
        name = getattr(tool, "name", None) or getattr(tool, "__name__", None) or tool
        raise RequestError(
            f"{name!r:.120} cannot be bound as a tool: {str(error).splitlines()[0]}.",
            "Bind a function with type hints and a docstring, a pydantic class, a TypedDict, a "
            "LangChain tool or an OpenAI tool dict.",
        ) from error
    except RecursionError:  # LangChain inlines references
        parameters = parameters or class_schema.of_class(schema)
        description = inspect.getdoc(schema) or ""
        return _function_dict(cast(type, schema).__name__, description, parameters)
    tool_spec(converted)  # raises for tools that a provider runs itself
    function = dict(converted["function"])
    if parameters is not None:
        function["parameters"] = parameters
    return {"type": "function", "function": function}


def _schema_class(tool: Tool) -> Any:
    """Return the class of a tool's arguments, if it has one, or the tool."""
    if isinstance(tool, BaseTool):
        return tool.tool_call_schema
    if not inspect.isroutine(tool):
        return tool
    return create_schema_from_function(
        tool.__name__,
        tool,
        filter_args=(),
        parse_docstring=True,
        error_on_invalid_docstring=False,
        include_injected=False,
    )


def _function_dict(name: str, description: str, parameters: Schema) -> dict[str, Any]:
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


def json_schema(schema: Any) -> Schema:
    """Return the JSON schema of a class, of a JSON schema, or of a dict that wraps one.

    Raises:
        RequestError: It is none of these.
        SchemaError: A class with a field that JSON cannot hold.
    """
    if is_pydantic(schema):
        return class_schema.of_class(schema)
    if isinstance(schema, Mapping):
        return plain_schema(schema)
    function: Mapping[str, Any] = tool_dict(schema)["function"]
    parameters: Mapping[str, Any] = function.get("parameters") or ANY_OBJECT
    if "description" in function:
        return {"description": function["description"], **parameters}
    return parameters


def is_pydantic(schema: object) -> bool:
    """Return whether a schema is a pydantic class, of version 2 or 1."""
    return isinstance(schema, type) and is_basemodel_subclass(schema)


def bound_keywords(tools: Sequence[Tool], response_format: Any, **keywords: Any) -> dict[str, Any]:
    """Return the keywords to bind for `bind_tools`, without those that are None.

    Raises:
        RequestError: An impossible tool, choice or format.
    """
    bound = {name: value for name, value in keywords.items() if value is not None}
    bound["tools"] = [tool_dict(tool) for tool in tools]
    if response_format is not None:
        bound["response_format"] = _format_dict(response_format)
    # LangChain's test suite binds two tools of the same name, so binding must not raise; a call
    # does.
    distinct = {tool["function"]["name"]: tool for tool in bound["tools"]}
    constraint({**bound, "tools": list(distinct.values())})
    return bound


def constraint(keywords: Mapping[str, Any]) -> Constraint:
    """Return the constraint of a call's keywords (`KEYWORDS`).

    Raises:
        RequestError: An impossible tool, choice or format.
    """
    tools = keywords.get("tools") or ()
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise RequestError(f"tools={tools!r:.80} is no list.", "Pass a list of tools.")
    schema = _response_schema(keywords.get("response_format"))
    specs = tuple(tool_spec(tool_dict(tool)) for tool in tools)
    for name in ("parallel_tool_calls", "strict", "describe"):
        value = keywords.get(name)
        if value is not None and not isinstance(value, bool):
            raise RequestError(f"{name}={value!r} is not possible.", "Use True, False or None.")
    choice = keywords.get("tool_choice")
    if not specs and schema is None and choice is None:
        return UNCONSTRAINED
    return Constraint(
        specs,
        "none" if choice is False else tool_choice(choice),
        parallel_tool_calls=keywords.get("parallel_tool_calls") is not False,
        schema=schema,
        describe=keywords.get("describe") is not False,
        strict=keywords.get("strict") is not False,
    )


def _format_dict(response_format: object) -> Mapping[str, Any]:
    """Return a `response_format` as OpenAI's dict."""
    if isinstance(response_format, Mapping) and response_format.get("type") in RESPONSE_FORMATS:
        return response_format
    name = getattr(response_format, "__name__", "answer")
    schema = _response_schema(response_format)
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


def _response_schema(response_format: object) -> Schema | None:
    """Return the JSON schema of a `response_format`; None for free text."""
    if response_format is None:
        return None
    if isinstance(response_format, Mapping) and response_format.get("type") in RESPONSE_FORMATS:
        return answer_schema(response_format)
    if isinstance(response_format, Mapping | type):
        return json_schema(response_format)
    raise RequestError(
        f"response_format={response_format!r:.120} is not possible.",
        "Use {'type': 'json_schema', …}, {'type': 'json_object'}, a class or a JSON schema.",
    )
