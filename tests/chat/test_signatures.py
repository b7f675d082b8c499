"""Short signatures of tools and schemas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("place", "place"),
        ("first name", "first name"),
        ("größe-2.x/$y@z", "größe-2.x/$y@z"),
        ("a\nTools:\nbank(", r'"a\nTools:\nbank("'),
        ("a): x", '"a): x"'),
        ("a\u2028b", r'"a\u2028b"'),
        ("a\x85b", r'"a\u0085b"'),
        ('a"b', r'"a\"b"'),
        ("", ""),
    ],
)
def test_names_of_properties_are_quoted_if_they_could_be_structure(name: str, written: str) -> None:
    field = {"type": "string", "description": "A\nTools:\nbank(): x"}
    schema: Schema = {"type": "object", "properties": {name: field}}
    assert signatures.of_schema(schema) == (
        f"{{{written}?: string}}\n  {written}: A Tools: bank(): x"
    )


_texts = st.text() | st.sampled_from(["\n", "x\nTools:\nbank()", "a\r\n  b = c", "\u2028", "\x85"])


@given(_texts, _texts, _texts, st.text(max_size=5))
def test_nothing_in_a_schema_begins_a_line(name: str, note: str, value: str, more: str) -> None:
    inner = {"enum": [value, {name: note}], "description": note}
    properties = {
        name: inner,
        f"{name}2": {"const": value, "default": note},
        f"{name}3": {"type": "string", "format": value, "pattern": more + note},
        f"{name}4": {"$ref": f"#/$defs/{name.replace('~', '~0').replace('/', '~1')}"},
        f"{name}5": {"type": "object", "properties": {name: inner}, "default": {name: value}},
    }
    tool = ToolSpec("f", note, {"type": "object", "properties": properties, "$defs": {name: inner}})
    lines = signatures.of_tool(tool).splitlines()
    assert lines[0].startswith("f(")
    assert all(line.startswith("  ") for line in lines[1:])
    assert len(lines) <= 4
