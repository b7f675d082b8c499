"""Tools and schemas in every form that LangChain knows, the seam's `Constraint` out.

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

from llava_tools.constraint import FREE, Constraint, Schema, ToolSpec
from llava_tools.errors import RequestError

Tool = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
ToolChoice = Mapping[str, Any] | str | bool | None

#: Keywords of a call that make up its constraint.
KEYWORDS = ("tools", "tool_choice", "strict", "parallel_tool_calls", "response_format")
_CHOICES = {None: "auto", True: "any", False: "none", "required": "any"}
_ANY_OBJECT: Schema = {"type": "object"}


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
    function = told.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RequestError(
            f"The tool {dict(told)!r:.120} is none that this model can call.",
            "Tools that a provider runs itself do not exist here; bind functions.",
        )
    schema = tool.tool_call_schema if isinstance(tool, BaseTool) else tool
    own = {"parameters": _of_pydantic(schema)} if _is_pydantic(schema) else {}
    return {"type": "function", "function": {**function, **own}}


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
    parameters: Mapping[str, Any] = function.get("parameters") or _ANY_OBJECT
    return {**description, **parameters}


def format_dict(given: object) -> Mapping[str, Any]:
    """Return a `response_format` as OpenAI's dict.

    Raises:
        RequestError: It is none.
    """
    if isinstance(given, Mapping) and given.get("type") in ("text", "json_object", "json_schema"):
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
    specs = tuple(_spec(tool_dict(tool)["function"]) for tool in tools)
    parallel = given.get("parallel_tool_calls")
    strict = given.get("strict")
    for name, value in (("parallel_tool_calls", parallel), ("strict", strict)):
        if value is not None and not isinstance(value, bool):
            raise RequestError(f"{name}={value!r} is not possible.", "Use True, False or None.")
    if not specs and schema is None and given.get("tool_choice") is None:
        return FREE
    return Constraint(
        specs,
        _choice(given.get("tool_choice")),
        parallel=parallel is not False,
        schema=schema,
        lenient=strict is False,
    )


def _choice(given: object) -> str:
    """Return OpenAI's, Anthropic's or LangChain's way to choose as the seam's."""
    if isinstance(given, Mapping):
        function = given.get("function")
        name = function.get("name") if isinstance(function, Mapping) else given.get("name")
        if isinstance(name, str):
            return name
        given = given.get("type") if given.get("type") in ("auto", "any", "none") else dict(given)
    if given is None or isinstance(given, str | bool):
        return _CHOICES.get(given, str(given))
    raise RequestError(
        f"tool_choice={given!r:.120} is not possible.",
        "Use 'auto', 'any', 'none', the name of a tool, or "
        "{'type': 'function', 'function': {'name': …}}.",
    )


def _answer(given: object) -> Schema | None:
    """Return the schema that `response_format` asks for."""
    if given is None or (isinstance(given, Mapping) and given.get("type") == "text"):
        return None
    if isinstance(given, Mapping) and given.get("type") == "json_object":
        return _ANY_OBJECT
    if isinstance(given, Mapping) and given.get("type") == "json_schema":
        inner = given.get("json_schema")
        if isinstance(inner, Mapping) and isinstance(inner.get("schema"), Mapping):
            return cast(Schema, inner["schema"])
        raise RequestError(
            f"response_format={dict(given)!r:.120} holds no schema.",
            "Use {'type': 'json_schema', 'json_schema': {'name': …, 'schema': {…}}}.",
        )
    if isinstance(given, Mapping | type):
        return schema_of(given)
    raise RequestError(
        f"response_format={given!r:.120} is not possible.",
        "Use {'type': 'json_schema', …}, {'type': 'json_object'}, a class or a JSON schema.",
    )


def _spec(function: Mapping[str, Any]) -> ToolSpec:
    parameters = function.get("parameters")
    known = {} if parameters is None else {"parameters": parameters}
    return ToolSpec(function["name"], str(function.get("description") or ""), **known)


def _is_pydantic(form: object) -> bool:
    return isinstance(form, type) and is_basemodel_subclass(form)


def _of_pydantic(form: Any) -> dict[str, Any]:
    """Return the schema of a pydantic class, of version 2 or 1."""
    schema = form.model_json_schema() if hasattr(form, "model_json_schema") else form.schema()
    return cast(dict[str, Any], schema)
