"""Tool choices of OpenAI's API; schemas in all that wraps them."""

from __future__ import annotations

from typing import Any

import pytest

from llava_tools.chat.openai_schema import (
    ANY_OBJECT,
    answer_schema,
    plain_schema,
    tool_choice,
    tool_spec,
)
from llava_tools.errors import RequestError


@pytest.mark.parametrize("name", ["auto", "any", "none", "required"])
def test_tool_choice_by_name_is_never_read_as_a_mode(name: str) -> None:
    choices: list[dict[str, Any]] = [
        {"type": "function", "function": {"name": name}},
        {"type": "tool", "name": name},
    ]
    for choice in choices:
        with pytest.raises(RequestError, match="is not possible"):
            tool_choice(choice)
    assert tool_choice(name) == ("any" if name == "required" else name)


PLACE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
WRAPPED: list[dict[str, Any]] = [
    {"name": "f", "strict": True, "schema": PLACE},
    {"name": "f", "parameters": PLACE},
    {"name": "f", "input_schema": PLACE},
    {"name": "f", "inputSchema": PLACE},
    {"type": "json_schema", "json_schema": {"name": "f", "strict": True, "schema": PLACE}},
    {"type": "json_schema", "name": "f", "schema": PLACE},
    {"type": "function", "function": {"name": "f", "parameters": PLACE}},
    {"type": "function", "name": "f", "parameters": PLACE},
    {"toolSpec": {"name": "f", "inputSchema": {"json": PLACE}}},
]


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_wrapped_schema_is_unwrapped(wrapped: dict[str, Any]) -> None:
    assert plain_schema(wrapped) == PLACE
    assert answer_schema(wrapped) == PLACE
    spec = tool_spec(wrapped)
    assert (spec.name, spec.parameters) == ("f", PLACE)


def test_description_of_a_wrapper_is_kept() -> None:
    wrapped = {"name": "f", "description": "A place.", "input_schema": PLACE}
    assert plain_schema(wrapped) == {"description": "A place.", **PLACE}
    assert tool_spec(wrapped).description == "A place."


@pytest.mark.parametrize(
    "schema",
    [
        {},
        PLACE,
        {"type": "array", "items": PLACE},
        {"$ref": "#/$defs/a", "$defs": {"a": PLACE}},
        {"title": "Anything"},
        {"properties": {"name": {}, "schema": {}, "function": {}}},
    ],
)
def test_plain_schema_is_returned(schema: dict[str, Any]) -> None:
    assert plain_schema(schema) is schema


def test_schema_of_a_format_without_one() -> None:
    assert plain_schema({"type": "json_object"}) == ANY_OBJECT
    assert plain_schema({"function": {"name": "f"}}) == ANY_OBJECT
    assert tool_spec({"name": "f", "parameters": None}).parameters["properties"] == {}


@pytest.mark.parametrize(
    "schema",
    [
        {"name": "f"},
        {"name": "f", "strict": True},
        {"function_declarations": [{"name": "f", "parameters": PLACE}]},
        {"json_schema": 3},
        {"fields": PLACE},
    ],
)
def test_dict_that_holds_no_schema_raises(schema: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="no keyword of JSON Schema"):
        plain_schema(schema)
    with pytest.raises(RequestError):
        answer_schema(schema)


@pytest.mark.parametrize("key", ["shema", "params", "args_schema"])
def test_tool_with_its_schema_under_an_unknown_key_raises(key: str) -> None:
    tools: list[dict[str, Any]] = [
        {"name": "f", key: PLACE},
        {"type": "function", "function": {"name": "f", key: PLACE}},
    ]
    for tool in tools:
        with pytest.raises(RequestError, match=f"schema under '{key}'"):
            tool_spec(tool)


def test_tool_without_arguments_may_describe_its_output() -> None:
    assert tool_spec({"name": "f", "outputSchema": PLACE}) == tool_spec({"name": "f"})
