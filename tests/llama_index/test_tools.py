"""Tools and output formats become constraints; tool calls in answers are read back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool, ToolMetadata
from pydantic import BaseModel

from llama_index.llms.llava import Llava
from llama_index.llms.llava.tools import to_constraint, tool_dict
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import UNCONSTRAINED, Constraint, ToolCall, ToolSpec
from llava_tools.errors import OutputError, RequestError, SchemaError
from llava_tools.testing import ScriptedBackend

CALL = write_call(ToolCall("", "add", {"a": 1, "b": 2}))
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    return a + b


ADD = FunctionTool.from_defaults(add)


def test_descriptions_lose_the_signature_that_llamaindex_adds() -> None:
    function = tool_dict(ADD)["function"]
    assert (function["name"], function["description"]) == ("add", "Add two numbers.")
    assert function["parameters"]["required"] == ["a"]
    described = FunctionTool.from_defaults(add, name="sum", description="Sum up.\nTwice.")
    assert tool_dict(described)["function"]["description"] == "Sum up.\nTwice."


def test_openai_dicts_and_tools_without_a_schema() -> None:
    bare = {"name": "f", "description": "d", "parameters": SCHEMA}
    assert to_constraint([bare]) == to_constraint([{"type": "function", "function": bare}])
    assert to_constraint([bare]) == Constraint((ToolSpec("f", "d", SCHEMA),))
    assert to_constraint([{"name": "f"}]) == Constraint((ToolSpec("f"),))
    tool = FunctionTool(add, ToolMetadata("d", "add", fn_schema=None))
    assert to_constraint([tool]).tools[0].parameters["required"] == ["input"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, "auto"),
        (False, "auto"),
        ("auto", "auto"),
        ("none", "none"),
        ("any", "any"),
        ("required", "any"),
        (True, "any"),
        ("add", "add"),
        ({"type": "function", "function": {"name": "add"}}, "add"),
        ({"type": "tool", "name": "add"}, "add"),
        ({"type": "any"}, "any"),
        ({"type": "auto"}, "auto"),
    ],
)
def test_tool_choices(choice: Any, expected: str) -> None:
    assert to_constraint([ADD], choice).tool_choice == expected


def test_invalid_tools_choices_and_formats_raise() -> None:
    for tools in ([add], [7], [{"description": "no name"}]):
        with pytest.raises(RequestError, match="tool"):
            to_constraint(tools)
    for choice in ("subtract", 7, {"type": 7}):
        with pytest.raises(RequestError, match="tool_choice="):
            to_constraint([ADD], choice)
    for response_format in (7, int, {"type": "xml"}, {"type": "json_schema"}):
        with pytest.raises(RequestError, match="response_format="):
            to_constraint(response_format=response_format)
    with pytest.raises(RequestError, match="there is no tool"):
        to_constraint([], "required")


def test_response_formats() -> None:
    class Car(BaseModel):
        colour: str

    schema = Car.model_json_schema()
    openai = {"type": "json_schema", "json_schema": {"name": "car", "schema": schema}}
    assert to_constraint(response_format=Car).schema == schema
    assert to_constraint(response_format=openai).schema == schema
    assert to_constraint(response_format={"type": "json_object"}).schema == {"type": "object"}
    assert to_constraint(response_format={"type": "text"}).schema is None
    assert (
        to_constraint()
        == to_constraint([], "auto", allow_parallel_tool_calls=False)
        == UNCONSTRAINED
    )


def test_types_without_a_json_schema_raise() -> None:
    class Odd(BaseModel):
        model_config = {"arbitrary_types_allowed": True}
        backend: ScriptedBackend

    with pytest.raises(SchemaError, match="Odd has no JSON schema"):
        to_constraint([FunctionTool.from_defaults(add, fn_schema=Odd)])
    with pytest.raises(ValueError, match="Odd has no JSON schema"):
        to_constraint(response_format=Odd)


def test_the_backend_refuses_an_invalid_schema() -> None:
    llm = Llava(backend=ScriptedBackend([CALL]))
    broken = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "int"}}}}
    with pytest.raises(SchemaError, match="the tool f"):
        llm.chat([ChatMessage("hi")], tools=[broken])


async def test_all_four_methods_of_chat_with_tools() -> None:
    backend = ScriptedBackend([CALL])
    llm = Llava(backend=backend)
    arguments: dict[str, Any] = {
        "user_msg": "1 + 2?",
        "chat_history": [ChatMessage("Hello", role="user"), ChatMessage("Hi", role="assistant")],
        "tool_required": True,
    }
    responses = [
        llm.chat_with_tools([ADD], **arguments),
        list(llm.stream_chat_with_tools([ADD], **arguments))[-1],
        await llm.achat_with_tools([ADD], **arguments),
        [chunk async for chunk in await llm.astream_chat_with_tools([ADD], **arguments)][-1],
    ]
    for response in responses:
        (call,) = llm.get_tool_calls_from_response(response)
        assert (call.tool_name, call.tool_kwargs) == ("add", {"a": 1, "b": 2})
        assert call.tool_id.startswith("call_")
    assert len(set(map(repr, backend.requests))) == 1
    assert [m.text for m in backend.requests[0].messages] == ["Hello", "Hi", "1 + 2?"]
    constraint = backend.requests[0].constraint
    assert (constraint.tool_choice, constraint.parallel_tool_calls) == ("any", False)
    assert json.dumps(llm._prepare_chat_with_tools([ADD], "hi")["tools"])  # events serialize it


def test_streamed_calls_have_partial_arguments() -> None:
    llm = Llava(backend=ScriptedBackend([CALL]))
    arguments = [
        selection.tool_kwargs
        for chunk in llm.stream_chat_with_tools([ADD], "1 + 2?")
        for selection in llm.get_tool_calls_from_response(chunk, error_on_no_tool_call=False)
    ]
    assert arguments[0] == {}
    assert arguments[-1] == {"a": 1, "b": 2}
    assert {"a": 1} in arguments


def test_error_on_no_tool_call() -> None:
    llm = Llava(backend=ScriptedBackend(["three"]))
    response = llm.chat_with_tools([ADD], "1 + 2?")
    assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
    with pytest.raises(OutputError, match="calls no tool"):
        llm.get_tool_calls_from_response(response)


def test_predict_and_call() -> None:
    llm = Llava(backend=ScriptedBackend([CALL]))
    answer = llm.predict_and_call([ADD], "1 + 2?")
    assert answer.response == "3"


def test_a_call_cut_off_by_max_tokens_raises() -> None:
    llm = Llava(backend=ScriptedBackend([CALL]))
    with pytest.raises(OutputError, match="max_tokens"):
        llm.chat_with_tools([ADD], "1 + 2?", max_tokens=4)
