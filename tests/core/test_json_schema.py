"""Validation of schemas and values; disjoint branches."""

from __future__ import annotations

from typing import Any

import pytest

from llava_tools.core import json_schema
from llava_tools.core.constraints import Constraint, ToolSpec
from llava_tools.errors import OutputError, SchemaError

NODE: dict[str, Any] = {
    "type": "object",
    "properties": {"next": {"$ref": "#/$defs/Node"}},
    "required": ["next"],
}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "strin"}, "not a valid JSON schema: 'strin'"),
        ({"properties": {"a": {"minimum": "low"}}}, r"\$.properties.a.minimum"),
        ({"$ref": "#"}, "without end"),
        ({**NODE, "$defs": {"Node": NODE}}, "without end"),
        ({"anyOf": [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}]}, "without end"),
        ({"type": "array", "minItems": 1, "items": {"$ref": "#"}}, "without end"),
    ],
)
def test_invalid_and_endless_schemas_raise(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
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
def test_recursive_schema_with_finite_values_is_valid(schema: dict[str, Any]) -> None:
    json_schema.check_constraint(Constraint(schema=schema))


def test_unresolved_reference_raises() -> None:
    for pointer in ("#/$defs/Lost", "http://127.0.0.1:9/schema.json"):
        with pytest.raises(SchemaError, match="which it does not contain"):
            json_schema.validate({}, {"$ref": pointer}, "The answer")


def test_validation_checks_formats() -> None:
    schema = {"properties": {"day": {"format": "date"}}}
    json_schema.validate({"day": "2026-02-28"}, schema, "The answer")
    with pytest.raises(OutputError, match=r"\$.day: '2026-02-31' is not a 'date'"):
        json_schema.validate({"day": "2026-02-31"}, schema, "The answer")


@pytest.mark.parametrize(
    ("branches", "disjoint"),
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
def test_disjoint_branches(branches: list[Any], disjoint: bool) -> None:
    tagged = {
        name: {"type": "object", "properties": {"kind": {"const": name}}, "required": ["kind"]}
        for name in ("cat", "dog")
    }
    schema = {"oneOf": branches, "$defs": tagged}
    assert json_schema.has_disjoint_branches(schema, schema) is disjoint
