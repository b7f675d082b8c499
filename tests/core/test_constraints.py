"""Constraints and tools: errors for invalid ones."""

from __future__ import annotations

from typing import Any

import pytest

from llava_tools.core import json_schema
from llava_tools.core.constraints import MAX_SCHEMA_LENGTH, Constraint, ToolSpec
from llava_tools.errors import RequestError, SchemaError


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: ToolSpec("no spaces"), "'no spaces' is not a valid tool name"),
        (lambda: ToolSpec(""), "'' is not a valid tool name"),
        (lambda: ToolSpec("auto"), "No tool may be named 'auto'"),
        (lambda: ToolSpec("any"), "No tool may be named 'any'"),
        (lambda: ToolSpec("none"), "No tool may be named 'none'"),
        (lambda: ToolSpec("required"), "No tool may be named 'required'"),
        (lambda: ToolSpec("f", "", {"type": "array"}), "of type 'array'"),
        (lambda: ToolSpec("f", "", "x"), "not a JSON schema"),
        (lambda: ToolSpec("f", "", {"default": {1}}), "cannot be written as JSON"),
        (lambda: ToolSpec("f", "", {"title": "\ud800"}), "cannot be written as JSON"),
        (lambda: Constraint(schema={"enum": ["\udce9"]}), "cannot be written as JSON"),
        (lambda: Constraint(schema={"const": float("nan")}), "cannot be written as JSON"),
        (lambda: ToolSpec("f", "", {"title": "x" * MAX_SCHEMA_LENGTH}), "the limit is 65,536"),
        (lambda: Constraint((ToolSpec("f"), ToolSpec("f"))), "Two tools are named 'f'"),
        (lambda: Constraint((ToolSpec("f"),), "g"), "tool_choice='g' is neither"),
        (lambda: Constraint((), "any"), "there is no tool"),
        (lambda: Constraint(schema=[]), "not a JSON schema"),
    ],
)
def test_invalid_tools_and_constraints_raise(create: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        create()


@pytest.mark.parametrize("level", ["properties", "items", "anyOf", "allOf", "const"])
def test_schema_that_is_nested_too_deeply_raises(level: str) -> None:
    def nested(depth: int) -> dict[str, Any]:
        schema: dict[str, Any] = {}
        for _ in range(depth):
            wrap = {"properties": {"a": schema}, "anyOf": [schema], "allOf": [schema]}
            schema = {level: wrap.get(level, schema)}
        return {**schema, "description": "]" * 300 + '\\"{'}

    json_schema.check_constraint(Constraint(schema=nested(30)))
    for depth in (150, 400):
        with pytest.raises(SchemaError, match="nested more than 64 levels deep"):
            Constraint(schema=nested(depth))
        with pytest.raises(SchemaError, match="the tool f is nested"):
            ToolSpec("f", "", nested(depth))


def test_schema_that_contains_itself_raises() -> None:
    schema: dict[str, Any] = {"type": "object"}
    schema["properties"] = {"self": schema}
    with pytest.raises(RequestError, match="cannot be written as JSON"):
        Constraint(schema=schema)
