"""Tools, calls, results and handles as text of the conversation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from llava_tools.chat import image_handles, signatures, tool_calls
from llava_tools.chat.prompt import build, check_results, render
from llava_tools.core.constraints import Constraint, Schema, ToolCall, ToolSpec
from llava_tools.core.requests import Message
from llava_tools.errors import RequestError
from llava_tools.images import open_image
from tests.strategies import adversarial_text

WEATHER = ToolSpec(
    "get_weather",
    "Get the weather\n at a location.",
    {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "City and state"},
            "days": {"type": "integer", "minimum": 1, "maximum": 7, "default": 3},
            "unit": {"enum": ["c", "f"]},
        },
        "required": ["location"],
    },
)
SYSTEM = "Be kind."
CAT, DOG = (open_image(Image.new("RGB", (8, 8), colour)) for colour in ("red", "blue"))
ZOOM = ToolSpec(
    "zoom",
    "",
    {"type": "object", "properties": {"image": image_handles.ARGUMENT}, "required": ["image"]},
)


def test_a_tool_in_few_words() -> None:
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
def test_forms_in_few_words(schema: Schema, text: str) -> None:
    assert signatures.of_schema(schema) == text


@pytest.mark.parametrize("choice", ["auto", "any", "get_weather"])
def test_the_model_is_told_of_tools_behind_the_system_sentence(choice: str) -> None:
    constraint = Constraint((WEATHER, ToolSpec("now")), choice)
    text = render(build([Message("user", ("Hi",))], SYSTEM, constraint))
    assert text.startswith(SYSTEM + "\nTools:\nget_weather(")
    assert text.endswith(" USER: Hi ASSISTANT:")
    assert ("now()" in text) is (choice != "get_weather")
    assert '<tool_call>{"name": ..., "arguments": {...}}</tool_call>' in text


def test_the_model_is_told_of_the_form_of_its_answer() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    told = tool_calls.instructions(Constraint(schema=schema))
    assert told == "Answer in JSON: {n: integer}"
    told = tool_calls.instructions(Constraint((ToolSpec("f"),), schema=schema))
    assert told.endswith("Otherwise answer in JSON: {n: integer}")
    assert tool_calls.instructions(Constraint((WEATHER,), "none")) == ""
    assert tool_calls.instructions(Constraint()) == ""


@given(st.dictionaries(st.text(), st.integers() | adversarial_text, max_size=3))
def test_a_call_is_json_between_its_tags(arguments: dict[str, Any]) -> None:
    text = tool_calls.write_call(ToolCall("c1", "f", arguments))
    inner = text.removeprefix(tool_calls.OPEN_TAG).removesuffix(tool_calls.CLOSE_TAG)
    assert json.loads(inner) == {"name": "f", "arguments": arguments}


def test_calls_and_results_in_the_conversation() -> None:
    messages = [
        Message("user", (CAT, "How warm?")),
        Message(
            "assistant",
            ("Let me see.",),
            (ToolCall("1", "get_weather", {"location": "Ulm"}), ToolCall("2", "now", {})),
        ),
        Message("tool", ("sunny",), tool_call_id="1"),
        Message("tool", ("broken", DOG), tool_call_id="2", is_error=True),
    ]
    check_results(messages)
    assert render(build(messages, SYSTEM)) == (
        "Be kind. USER: <image>\nHow warm? ASSISTANT: Let me see.\n"
        '<tool_call>{"name": "get_weather", "arguments": {"location": "Ulm"}}</tool_call>\n'
        '<tool_call>{"name": "now", "arguments": {}}</tool_call></s>'
        "USER: <image>\nResult of get_weather: sunny\nError of now: broken ASSISTANT:"
    )


def test_a_result_that_answers_no_call_is_refused() -> None:
    call = Message("assistant", (), (ToolCall("1", "f", {}),))
    check_results([call, Message("tool", ("r",), tool_call_id="1")])
    for messages in (
        [call, Message("tool", ("r",), tool_call_id="2")],
        [Message("tool", ("r",), tool_call_id="1"), call],
    ):
        with pytest.raises(RequestError, match="which nobody made"):
            check_results(messages)


def test_only_the_assistant_calls() -> None:
    with pytest.raises(RequestError, match="Only the assistant"):
        Message("user", ("x",), (ToolCall("1", "f", {}),))


def test_image_arguments_take_the_conversations_images_only() -> None:
    seen = "img_" + "0" * 24
    messages = [Message("user", (CAT, DOG, "x")), Message("tool", (f"zoomed: {seen}",))]
    narrowed = image_handles.narrow(Constraint((WEATHER, ZOOM)), messages)
    image = narrowed.tools[1].parameters["properties"]["image"]
    assert image == {"type": "string", "enum": [CAT.handle, DOG.handle, seen]}
    assert narrowed.tools[0] == WEATHER
    for constraint, said in ((Constraint((WEATHER,)), messages), (Constraint((ZOOM,)), [])):
        assert image_handles.narrow(constraint, said) is constraint


def test_images_are_named_where_a_tool_takes_them() -> None:
    messages = [Message("user", (CAT, DOG, "Which?"))]
    text = render(build(messages, SYSTEM, Constraint((ZOOM,))))
    assert f"\nPictures: {CAT.handle}, {DOG.handle}\nWhich?" in text
    assert "zoom(image: picture)" in text
    assert "Pictures:" not in render(build(messages, SYSTEM, Constraint((WEATHER,))))
