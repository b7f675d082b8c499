"""Tools and schemas in every form that LangChain knows, the backend interface's `Constraint` out.

`bind_tools` keeps what it was given as OpenAI's dicts, which traces and caches can show; each call
makes a `Constraint` of them. Schemas of pydantic classes are taken from pydantic itself, since
LangChain's own conversion writes out references and so loses recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import PydanticUserError

from llava_tools.chat.openai_schema import (
    ANY_OBJECT,
    FORMATS,
    answer_schema,
    tool_choice,
    tool_spec,
)
from llava_tools.core.constraints import FREE, Constraint, Schema
from llava_tools.errors import RequestError

Tool = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
ToolChoice = Mapping[str, Any] | str | bool | None

#: Keywords of a call that make up its constraint.
KEYWORDS = ("tools", "tool_choice", "strict", "parallel_tool_calls", "response_format")


def tool_dict(tool: Tool) -> dict[str, Any]:
    """Return a tool as OpenAI's dict.

    Raises:
        RequestError: It is none that LangChain knows, or one that a provider runs itself.
    """
    try:
        told = convert_to_openai_tool(cast(Any, tool))
    except (ValueError, TypeError, PydanticUserError) as error:
        name = getattr(tool, "name", None) or getattr(tool, "__name__", None) or tool
        raise RequestError(
            f"{name!r:.120} cannot be bound as a tool: {str(error).splitlines()[0]}.",
            "Bind a function with type hints and a docstring, a pydantic class, a TypedDict, a "
            "LangChain tool or an OpenAI tool dict.",
        ) from error
    tool_spec(told)  # raises for those that a provider runs itself
    schema = tool.tool_call_schema if isinstance(tool, BaseTool) else tool
    own = {"parameters": _of_pydantic(schema)} if _is_pydantic(schema) else {}
    return {"type": "function", "function": {**told["function"], **own}}


def schema_of(form: Any) -> Schema:
    """Return the JSON schema of a structured answer's form.

    Raises:
        RequestError: Neither a class nor a JSON schema.
    """
    if _is_pydantic(form):
        return _of_pydantic(form)
    if isinstance(form, Mapping) and "function" not in form and "parameters" not in form:
        return form
    function: Mapping[str, Any] = tool_dict(form)["function"]
    description = {key: function[key] for key in ("description",) if key in function}
    parameters: Mapping[str, Any] = function.get("parameters") or ANY_OBJECT
    return {**description, **parameters}


def format_dict(given: object) -> Mapping[str, Any]:
    """Return a `response_format` as OpenAI's dict.

    Raises:
        RequestError: It is none.
    """
    if isinstance(given, Mapping) and given.get("type") in FORMATS:
        return given
    named = getattr(given, "__name__", "answer")
    return {"type": "json_schema", "json_schema": {"name": named, "schema": _answer(given)}}


def constraint(given: Mapping[str, Any]) -> Constraint:
    """Return the constraint of a call's keywords (`KEYWORDS`).

    Raises:
        RequestError: A tool, a choice or a format that is not possible.
    """
    tools = given.get("tools") or ()
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise RequestError(f"tools={tools!r:.80} is no list.", "Pass a list of tools.")
    schema = _answer(given.get("response_format"))
    specs = tuple(tool_spec(tool_dict(tool)) for tool in tools)
    parallel = given.get("parallel_tool_calls")
    strict = given.get("strict")
    for name, value in (("parallel_tool_calls", parallel), ("strict", strict)):
        if value is not None and not isinstance(value, bool):
            raise RequestError(f"{name}={value!r} is not possible.", "Use True, False or None.")
    choice = given.get("tool_choice")
    if not specs and schema is None and choice is None:
        return FREE
    return Constraint(
        specs,
        "none" if choice is False else tool_choice(choice),
        parallel_tool_calls=parallel is not False,
        schema=schema,
        strict=strict is not False,
    )


def _answer(given: object) -> Schema | None:
    """Return the schema that `response_format` asks for."""
    if given is None:
        return None
    if isinstance(given, Mapping) and given.get("type") in FORMATS:
        return answer_schema(given)
    if isinstance(given, Mapping | type):
        return schema_of(given)
    raise RequestError(
        f"response_format={given!r:.120} is not possible.",
        "Use {'type': 'json_schema', …}, {'type': 'json_object'}, a class or a JSON schema.",
    )


def _is_pydantic(form: object) -> bool:
    return isinstance(form, type) and is_basemodel_subclass(form)


def _of_pydantic(form: Any) -> dict[str, Any]:
    """Return the schema of a pydantic class, of version 2 or 1."""
    schema = form.model_json_schema() if hasattr(form, "model_json_schema") else form.schema()
    return cast(dict[str, Any], schema)
