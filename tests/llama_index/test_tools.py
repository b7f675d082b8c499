"""Tools in, a constraint out; calls in answers read back, and asked for in every way."""

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


def test_a_tool_is_described_without_the_signature_that_the_schema_tells() -> None:
    function = tool_dict(ADD)["function"]
    assert (function["name"], function["description"]) == ("add", "Add two numbers.")
    assert function["parameters"]["required"] == ["a"]
    named = FunctionTool.from_defaults(add, name="sum", description="Sum up.\nTwice.")
    assert tool_dict(named)["function"]["description"] == "Sum up.\nTwice."


def test_openai_dicts_and_tools_without_a_schema() -> None:
    bare = {"name": "f", "description": "d", "parameters": SCHEMA}
    assert to_constraint([bare]) == to_constraint([{"type": "function", "function": bare}])
    assert to_constraint([bare]) == Constraint((ToolSpec("f", "d", SCHEMA),))
    assert to_constraint([{"name": "f"}]) == Constraint((ToolSpec("f"),))
    tool = FunctionTool(add, ToolMetadata("d", "add", fn_schema=None))
    assert to_constraint([tool]).tools[0].parameters["required"] == ["input"]


@pytest.mark.parametrize(
    ("given", "choice"),
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
def test_every_way_to_choose(given: Any, choice: str) -> None:
    assert to_constraint([ADD], given).tool_choice == choice


def test_what_is_neither_tool_nor_choice_nor_format() -> None:
    for bad in ([add], [7], [{"description": "no name"}]):
        with pytest.raises(RequestError, match="tool"):
            to_constraint(bad)
    for choice in ("subtract", 7, {"type": 7}):
        with pytest.raises(RequestError, match="tool_choice="):
            to_constraint([ADD], choice)
    for form in (7, int, {"type": "xml"}, {"type": "json_schema"}):
        with pytest.raises(RequestError, match="response_format="):
            to_constraint(response_format=form)
    with pytest.raises(RequestError, match="there is no tool"):
        to_constraint([], "required")


def test_forms_of_answers() -> None:
    class Car(BaseModel):
        colour: str

    wanted = Car.model_json_schema()
    openai = {"type": "json_schema", "json_schema": {"name": "car", "schema": wanted}}
    assert to_constraint(response_format=Car).schema == wanted
    assert to_constraint(response_format=openai).schema == wanted
    assert to_constraint(response_format={"type": "json_object"}).schema == {"type": "object"}
    assert to_constraint(response_format={"type": "text"}).schema is None
    assert to_constraint() == to_constraint([], "auto", allow_parallel_tool_calls=False) == UNCONSTRAINED


def test_what_json_cannot_hold_is_refused_up_front() -> None:
    class Odd(BaseModel):
        model_config = {"arbitrary_types_allowed": True}
        what: ScriptedBackend

    with pytest.raises(SchemaError, match="Odd has no JSON schema"):
        to_constraint([FunctionTool.from_defaults(add, fn_schema=Odd)])
    with pytest.raises(ValueError, match="Odd has no JSON schema"):
        to_constraint(response_format=Odd)


def test_a_schema_that_is_none_is_refused_by_the_backend() -> None:
    llm = Llava(backend=ScriptedBackend([CALL]))
    broken = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "int"}}}}
    with pytest.raises(SchemaError, match="the tool f"):
        llm.chat([ChatMessage("hi")], tools=[broken])


async def test_chatting_with_tools_in_all_four_ways() -> None:
    backend = ScriptedBackend([CALL])
    llm = Llava(backend=backend)
    given: dict[str, Any] = {
        "user_msg": "1 + 2?",
        "chat_history": [ChatMessage("Hello", role="user"), ChatMessage("Hi", role="assistant")],
        "tool_required": True,
    }
    responses = [
        llm.chat_with_tools([ADD], **given),
        list(llm.stream_chat_with_tools([ADD], **given))[-1],
        await llm.achat_with_tools([ADD], **given),
        [chunk async for chunk in await llm.astream_chat_with_tools([ADD], **given)][-1],
    ]
    for response in responses:
        (call,) = llm.get_tool_calls_from_response(response)
        assert (call.tool_name, call.tool_kwargs) == ("add", {"a": 1, "b": 2})
        assert call.tool_id.startswith("call_")
    assert len(set(map(repr, backend.requests))) == 1
    assert [m.text for m in backend.requests[0].messages] == ["Hello", "Hi", "1 + 2?"]
    constraint = backend.requests[0].constraint
    assert (constraint.tool_choice, constraint.parallel_tool_calls) == ("any", False)
    assert json.dumps(llm._prepare_chat_with_tools([ADD], "hi")["tools"])  # events write it down


def test_arguments_are_readable_while_they_come() -> None:
    llm = Llava(backend=ScriptedBackend([CALL]))
    seen = [
        selection.tool_kwargs
        for chunk in llm.stream_chat_with_tools([ADD], "1 + 2?")
        for selection in llm.get_tool_calls_from_response(chunk, error_on_no_tool_call=False)
    ]
    assert seen[0] == {}
    assert seen[-1] == {"a": 1, "b": 2}
    assert {"a": 1} in seen


def test_no_call_where_one_is_wanted() -> None:
    llm = Llava(backend=ScriptedBackend(["three"]))
    response = llm.chat_with_tools([ADD], "1 + 2?")
    assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
    with pytest.raises(OutputError, match="calls no tool"):
        llm.get_tool_calls_from_response(response)


def test_predict_and_call() -> None:
    llm = Llava(backend=ScriptedBackend([CALL]))
    answer = llm.predict_and_call([ADD], "1 + 2?")
    assert answer.response == "3"


def test_a_call_that_was_cut_off_is_an_error() -> None:
    llm = Llava(backend=ScriptedBackend([CALL]))
    with pytest.raises(OutputError, match="max_tokens"):
        llm.chat_with_tools([ADD], "1 + 2?", max_tokens=4)
