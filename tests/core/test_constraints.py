"""Constraints and schemas: what is refused before anything is asked, and how it is told."""

from __future__ import annotations

from typing import Any

import pytest

from llava_tools.core import json_schema
from llava_tools.core.constraints import LARGEST_SCHEMA, Constraint, ToolSpec
from llava_tools.errors import OutputError, RequestError, SchemaError

NODE: dict[str, Any] = {
    "type": "object",
    "properties": {"next": {"$ref": "#/$defs/Node"}},
    "required": ["next"],
}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ToolSpec("no spaces"), "'no spaces' is not a name"),
        (lambda: ToolSpec(""), "'' is not a name"),
        (lambda: ToolSpec("f", "", {"type": "array"}), "of type 'array'"),
        (lambda: ToolSpec("f", "", "x"), "not a JSON schema"),
        (lambda: ToolSpec("f", "", {"default": {1}}), "cannot be written as JSON"),
        (lambda: ToolSpec("f", "", {"title": "x" * LARGEST_SCHEMA}), "65,536 are the most"),
        (lambda: Constraint((ToolSpec("f"), ToolSpec("f"))), "Two tools are named 'f'"),
        (lambda: Constraint((ToolSpec("f"),), "g"), "tool_choice='g' is neither"),
        (lambda: Constraint((), "any"), "there is no tool"),
        (lambda: Constraint(schema=[]), "not a JSON schema"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        make()


def test_a_schema_that_contains_itself_is_an_error_rather_than_a_loop() -> None:
    schema: dict[str, Any] = {"type": "object"}
    schema["properties"] = {"self": schema}
    with pytest.raises(RequestError, match="cannot be written as JSON"):
        Constraint(schema=schema)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "strin"}, "no JSON schema: 'strin'"),
        ({"properties": {"a": {"minimum": "low"}}}, r"\$.properties.a.minimum"),
        ({"$ref": "#"}, "without end"),
        ({**NODE, "$defs": {"Node": NODE}}, "without end"),
        ({"anyOf": [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}]}, "without end"),
        ({"type": "array", "minItems": 1, "items": {"$ref": "#"}}, "without end"),
    ],
)
def test_schemas_that_are_none_or_never_end(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        json_schema.check_constraint(Constraint(schema=schema))
    if "type" in schema and schema["type"] == "object":
        with pytest.raises(SchemaError, match="the tool f"):
            json_schema.check_constraint(Constraint((ToolSpec("f", "", schema),)))


@pytest.mark.parametrize(
    "schema",
    [
        {**NODE, "$defs": {"Node": {"anyOf": [NODE, {"type": "null"}]}}},
        {**NODE, "$defs": {"Node": {**NODE, "required": []}}},
        {"type": "array", "items": {"$ref": "#"}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"const": 1}}},
        {"type": "object", "properties": {"$ref": {"type": "string"}}, "required": ["$ref"]},
    ],
)
def test_recursion_that_can_end_is_fine(schema: dict[str, Any]) -> None:
    json_schema.check_constraint(Constraint(schema=schema))


def test_a_reference_that_leads_nowhere_is_named() -> None:
    for pointer in ("#/$defs/Lost", "http://127.0.0.1:9/schema.json"):
        with pytest.raises(SchemaError, match="which it does not hold"):
            json_schema.check({}, {"$ref": pointer}, "The answer")


def test_values_are_checked_formats_too() -> None:
    schema = {"properties": {"day": {"format": "date"}}}
    json_schema.check({"day": "2026-02-28"}, schema, "The answer")
    with pytest.raises(OutputError, match=r"\$.day: '2026-02-31' is not a 'date'"):
        json_schema.check({"day": "2026-02-31"}, schema, "The answer")


@pytest.mark.parametrize(
    ("branches", "apart"),
    [
        ([{"type": "string"}, {"type": "integer"}], True),
        ([{"type": "number"}, {"type": "integer"}], False),
        ([{"type": "string"}, {"type": "string"}], False),
        ([{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}], True),
        ([{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/cat"}], False),
        ([{"$ref": "#/$defs/cat"}, {"type": "object"}], False),
        ([{"$ref": "#/$defs/lost"}, {"$ref": "#/$defs/cat"}], False),
    ],
)
def test_branches_that_exclude_each_other(branches: list[Any], apart: bool) -> None:
    tagged = {
        name: {"type": "object", "properties": {"kind": {"const": name}}, "required": ["kind"]}
        for name in ("cat", "dog")
    }
    schema = {"oneOf": branches, "$defs": tagged}
    assert json_schema.disjoint(schema, schema) is apart
