"""`with_structured_output`: schemas, methods, parsing errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from langchain_llava import ChatLlava
from langchain_llava import compat as langchain
from llava_tools.errors import OutputError, SchemaError
from llava_tools.testing import ScriptedBackend
from tests.langchain.tools import OPENAI, PLACE, Look, LookDict, LookV1, call

PLACE_TOOL = {"name": "look", "parameters": PLACE}

SCHEMAS: list[tuple[Any, Any]] = [
    (Look, Look(place="left")),
    (LookV1, LookV1(place="left")),
    (LookDict, {"place": "left"}),
    ({"title": "look", **PLACE}, {"place": "left"}),
    (OPENAI, {"place": "left"}),
]


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize(("schema", "expected"), SCHEMAS)
def test_every_schema_and_method(schema: Any, expected: Any, method: Any) -> None:
    name = getattr(schema, "__name__", "look")
    text = json.dumps({"place": "left"})
    if method == "function_calling":
        text = call(name, place="left")
    backend = ScriptedBackend([text])
    model = ChatLlava(backend=backend).with_structured_output(schema, method=method)
    assert model.invoke("x") == expected
    constraint = backend.requests[-1].constraint
    assert constraint.tool_choice == (name if method == "function_calling" else "auto")
    assert (constraint.schema is None) is (method == "function_calling")
    assert list(model.stream("x"))[-1] == expected
    assert asyncio.run(model.ainvoke("x")) == expected


WRAPPED: list[dict[str, Any]] = [
    {"name": "look", "strict": True, "schema": PLACE},
    {"name": "look", "description": "Look.", "input_schema": PLACE},
    {"type": "json_schema", "json_schema": {"name": "look", "strict": True, "schema": PLACE}},
    {"type": "function", "name": "look", "parameters": PLACE},
]


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("schema", WRAPPED)
def test_wrapped_schema_constrains_the_answer(schema: Any, method: Any) -> None:
    text = call("look", place="left") if method == "function_calling" else '{"place": "left"}'
    backend = ScriptedBackend([text, '{"other": 1}'])
    model = ChatLlava(backend=backend).with_structured_output(schema, method=method)
    assert model.invoke("x") == {"place": "left"}
    constraint = backend.requests[-1].constraint
    found = constraint.tools[0].parameters if constraint.tools else constraint.schema
    assert found is not None
    assert found["required"] == ["place"]
    with pytest.raises(langchain.ModelError):
        model.invoke("x")


@pytest.mark.parametrize("schema", WRAPPED)
def test_wrapped_schema_is_a_tool_and_a_response_format(schema: Any) -> None:
    backend = ScriptedBackend([call("look", place="left"), '{"place": "left"}'])
    model = ChatLlava(backend=backend)
    bound: Any = model.bind_tools([schema]).invoke("x")
    assert bound.tool_calls[0]["args"] == {"place": "left"}
    model.bind_tools([], response_format=schema).invoke("x")
    answer_schema = backend.requests[-1].constraint.schema
    assert answer_schema is not None
    assert answer_schema["required"] == ["place"]


class Node(TypedDict):
    """A node."""

    label: str
    sons: list[Node]


class Price(BaseModel):
    amount: Decimal = Field(max_digits=4, decimal_places=2)


class Callback(BaseModel):
    run: Callable[[int], int]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_recursive_typed_dict(method: Any) -> None:
    value = {"label": "a", "sons": [{"label": "b", "sons": []}]}
    text = call("Node", **value) if method == "function_calling" else json.dumps(value)
    model = ChatLlava(backend=ScriptedBackend([text]))
    assert model.with_structured_output(Node, method=method).invoke("x") == value


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("strict", [None, True, False])
def test_decimal(method: Any, strict: bool | None) -> None:
    text = call("Price", amount=1.07) if method == "function_calling" else '{"amount": 1.07}'
    backend = ScriptedBackend([text])
    model = ChatLlava(backend=backend)
    structured = model.with_structured_output(Price, method=method, strict=strict)
    assert structured.invoke("x") == Price(amount=Decimal("1.07"))


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_class_that_has_no_schema_raises(method: Any) -> None:
    model = ChatLlava(backend=ScriptedBackend())
    with pytest.raises(SchemaError, match="Callback has no JSON schema"):
        model.with_structured_output(Callback, method=method)
    with pytest.raises(SchemaError, match="Callback has no JSON schema"):
        model.bind_tools([Callback])


def plant(tree: Node, price: Decimal) -> str:
    """Plant a tree.

    Args:
        tree: With all its sons.
        price: In euros.
    """
    return f"{tree} {price}"


@pytest.mark.parametrize("form", [plant, tool(parse_docstring=True)(plant)])
def test_function_with_recursive_and_decimal_arguments(form: Any) -> None:
    arguments = {"tree": {"label": "a", "sons": [{"label": "b", "sons": []}]}, "price": 1.5}
    backend = ScriptedBackend([call("plant", **arguments), call("plant", tree={"sons": [1]})])
    model = ChatLlava(backend=backend).bind_tools([form])
    assert model.invoke("x").tool_calls[0]["args"] == arguments
    (spec,) = backend.requests[-1].constraint.tools
    assert spec.description == "Plant a tree."
    assert spec.parameters["properties"]["tree"]["description"] == "With all its sons."
    assert spec.parameters["properties"]["price"]["type"] == "number"
    with pytest.raises(OutputError):
        model.invoke("x")


BEYOND: list[tuple[dict[str, Any], str]] = [
    ({"properties": {"a": {"pattern": r"(a)\1"}}}, "backreferences"),
    ({"properties": {"a": {"pattern": "(?=a)b"}}}, "strict=False"),
    ({"properties": {"a": {"const": 2**70}}}, "needs the number"),
    ({"properties": {"a": {"minimum": 2**63}}}, "needs the number"),
    ({"$schema": [], "properties": {}}, "names its dialect"),
]


@pytest.mark.parametrize(("schema", "message"), BEYOND)
def test_schema_that_cannot_be_satisfied_raises_before_an_answer(
    schema: dict[str, Any], message: str
) -> None:
    backend = ScriptedBackend(["{}"])
    model = ChatLlava(backend=backend)
    tool = {"name": "f", "parameters": {"type": "object", **schema}}
    for runnable in (model.with_structured_output(schema), model.bind_tools([tool])):
        with pytest.raises(SchemaError, match=message):
            runnable.invoke("x")
    assert not backend.requests


def test_finished_calls_are_in_the_error() -> None:
    text = "\n".join(call("look", place=f"n{i}") for i in range(9))
    model = ChatLlava(backend=ScriptedBackend([text])).bind_tools([PLACE_TOOL])
    with pytest.raises(OutputError, match="before it are complete") as caught:
        model.invoke("x", max_tokens=10)
    assert [item.arguments for item in caught.value.tool_calls] == [
        {"place": "n0"},
        {"place": "n1"},
    ]


def test_json_schema_without_a_title() -> None:
    model = ChatLlava(backend=ScriptedBackend(['{"place": "a"}']))
    assert model.with_structured_output(PLACE).invoke("x") == {"place": "a"}


def test_json_mode_without_a_schema() -> None:
    backend = ScriptedBackend(['{"b": [1]}'])
    model = ChatLlava(backend=backend).with_structured_output(method="json_mode")
    assert model.invoke("x") == {"b": [1]}
    assert backend.requests[-1].constraint.schema == {"type": "object"}


def test_include_raw_returns_the_error_of_a_pydantic_validator() -> None:
    class Even(BaseModel):
        n: int

        def model_post_init(self, context_length: object) -> None:
            if self.n % 2:
                raise ValueError("odd")

    model = ChatLlava(backend=ScriptedBackend(['{"n": 3}']))
    result: Any = model.with_structured_output(Even, include_raw=True).invoke("x")
    assert result["parsed"] is None
    assert "odd" in str(result["parsing_error"])
    assert result["raw"].content == '{"n": 3}'
