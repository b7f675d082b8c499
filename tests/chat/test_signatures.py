"""Short signatures of tools and schemas."""

from __future__ import annotations

import pytest

from llava_tools.chat import signatures
from llava_tools.core.constraints import Schema, ToolSpec
from tests.chat.tools import WEATHER


def test_tool_signature() -> None:
    assert signatures.of_tool(WEATHER) == (
        "get_weather(location: string, days?: integer (at least 1, at most 7) = 3, "
        'unit?: "c"|"f"): Get the weather at a location.\n'
        "  location: City and state"
    )
    assert signatures.of_tool(ToolSpec("now")) == "now()"


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "array", "items": {"type": ["integer", "null"]}}, "(integer|null)[]"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string|null"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "{...: number}"),
        ({"type": "object", "properties": {"a": {"const": 1}}}, "{a?: 1}"),
        ({"type": "string", "format": "date"}, "string (date)"),
        ({"allOf": [{"type": "string"}]}, "string"),
        ({}, "any"),
        (
            {
                "$ref": "#/$defs/Tree",
                "$defs": {
                    "Tree": {
                        "type": "object",
                        "properties": {
                            "sons": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}
                        },
                    }
                },
            },
            "Tree\n  Tree = {sons?: Tree[]}",
        ),
    ],
)
def test_schema_signature(schema: Schema, text: str) -> None:
    assert signatures.of_schema(schema) == text
