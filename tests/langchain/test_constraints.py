"""Tools and response formats: binding them, calls in answers, and errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolArg, tool
from pydantic import BaseModel

from langchain_llava import ChatLlava
from langchain_llava import compat as langchain
from llava_tools.core.constraints import Constraint, ToolCall
from llava_tools.core.requests import Request
from llava_tools.testing import ScriptedBackend
from tests.langchain.scripted import total
from tests.langchain.tools import ANTHROPIC, OPENAI, PLACE, Look, LookDict, LookV1, call


class Tree(BaseModel):
    """A tree."""

    sons: list[Tree] = []


def look(place: str) -> str:
    """Look at a place.

    Args:
        place: Where to look
    """
    return place


@tool
def secretly(place: str, user: Annotated[str, InjectedToolArg]) -> str:
    """Look at a place."""
    return place + user


def bound(*answers: str, **options: Any) -> tuple[ScriptedBackend, Any]:
    """Return a backend and a model that is bound to `look`."""
    backend = ScriptedBackend(answers)
    return backend, ChatLlava(backend=backend).bind_tools([OPENAI], **options)


def constraint_of(model: Any, backend: ScriptedBackend) -> Constraint:
    model.invoke("x")
    return backend.requests[-1].constraint


@pytest.mark.parametrize(
    "form", [Look, LookV1, LookDict, look, tool(look), OPENAI, ANTHROPIC, secretly]
)
def test_every_form_of_tool(form: Any) -> None:
    backend = ScriptedBackend(["no"])
    constraint = constraint_of(ChatLlava(backend=backend).bind_tools([form]), backend)
    (spec,) = constraint.tools
    assert spec.name.lower().startswith(("look", "secretly"))
    assert "place" in spec.parameters["properties"]
    assert "user" not in spec.parameters["properties"]
    assert "place" in spec.parameters["required"]


def test_recursive_schema_is_kept() -> None:
    backend = ScriptedBackend(["no"])
    constraint = constraint_of(ChatLlava(backend=backend).bind_tools([Tree]), backend)
    assert "$ref" in json.dumps(constraint.tools[0].parameters)


@pytest.mark.parametrize(
    ("tool_choice", "expected"),
    [
        (None, "auto"),
        ("auto", "auto"),
        ("any", "any"),
        ("required", "any"),
        (True, "any"),
        ("look", "look"),
        ({"type": "function", "function": {"name": "look"}}, "look"),
        ({"type": "tool", "name": "look"}, "look"),
        ({"type": "any"}, "any"),
    ],
)
def test_tool_choices(tool_choice: Any, expected: str) -> None:
    backend, model = bound(call(place="left"), tool_choice=tool_choice)
    assert constraint_of(model, backend).tool_choice == expected


@pytest.mark.parametrize("tool_choice", ["none", False])
def test_tool_choice_none(tool_choice: Any) -> None:
    backend, model = bound("text", tool_choice=tool_choice)
    assert constraint_of(model, backend).tool_choice == "none"


def test_options_of_bind_tools() -> None:
    backend, model = bound("{}", parallel_tool_calls=False, strict=False)
    assert constraint_of(model, backend) == Constraint(
        backend.requests[-1].constraint.tools, parallel_tool_calls=False, strict=False
    )


def test_calls_have_ids_and_no_text() -> None:
    _, model = bound(call(place="left") + "\n" + call(place="right"))
    message = model.invoke("x")
    assert message.content == ""
    assert [item["args"] for item in message.tool_calls] == [{"place": "left"}, {"place": "right"}]
    assert len({item["id"] for item in message.tool_calls}) == 2
    assert message.response_metadata["finish_reason"] == "tool_calls"


async def test_sum_of_call_chunks_is_the_calls() -> None:
    _, model = bound(call(place="a b c") + "\n" + call(place="d"))
    chunks: list[AIMessageChunk] = [chunk async for chunk in model.astream("x")]
    call_chunks = [item for chunk in chunks for item in chunk.tool_call_chunks]
    assert [item["name"] for item in call_chunks if item["name"]] == ["look", "look"]
    assert len([item["id"] for item in call_chunks if item["id"]]) == 2
    assert len(call_chunks) > 4
    merged = total(chunks)
    assert [item["args"] for item in merged.tool_calls] == [{"place": "a b c"}, {"place": "d"}]
    assert not merged.invalid_tool_calls


def test_call_cut_off_raises() -> None:
    _, model = bound(call(place="a b c d"))
    with pytest.raises(langchain.ModelError, match="cut off by max_tokens"):
        model.invoke("x", max_tokens=3)


def test_calls_and_results_of_a_conversation_reach_the_request() -> None:
    backend, model = bound("done")
    messages = [
        HumanMessage("x"),
        AIMessage("", tool_calls=[{"name": "look", "args": {"place": "a"}, "id": "1"}]),
        ToolMessage("nothing", tool_call_id="1"),
    ]
    model.invoke(messages)
    _, answer, result = backend.requests[-1].messages
    assert answer.tool_calls == (ToolCall("1", "look", {"place": "a"}),)
    assert (result.role, result.text, result.tool_call_id) == ("tool", "nothing", "1")


WRONG_BINDINGS: list[tuple[Callable[[], Any], str]] = [
    (lambda: bound("x", tool_choice="shoot"), "tool_choice='shoot'"),
    (lambda: bound("x", tool_choice=3), "tool_choice=3"),
    (lambda: ChatLlava().bind_tools([{"type": "web_search"}]), "provider"),
    (lambda: ChatLlava().bind_tools([3]), "cannot be bound"),  # type: ignore[list-item]
    (
        lambda: ChatLlava().bind_tools([{"name": "f", "parameters": {"type": "array"}}]),
        "of type 'array'",
    ),
    (lambda: bound("x", parallel_tool_calls="no"), "parallel_tool_calls='no'"),
    (lambda: bound("x", response_format="json"), "response_format='json'"),
    (lambda: ChatLlava().with_structured_output(Look, method="magic"), "method='magic'"),
    (lambda: ChatLlava().with_structured_output(), "needs a schema"),
    (lambda: ChatLlava().with_structured_output(Look, strictly=True), "Did you mean 'strict'"),
    (
        lambda: ChatLlava().with_structured_output({"title": "T" * 70_000, "type": "object"}),
        "the limit is 65,536",
    ),
]


@pytest.mark.parametrize(("bind", "message"), WRONG_BINDINGS)
def test_wrong_binding_raises_at_once(bind: Callable[[], Any], message: str) -> None:
    with pytest.raises(langchain.ModelInvalidRequestError) as caught:
        bind()
    assert message in str(caught.value)


WRONG_CALLS: list[tuple[list[Any], list[Any], str]] = [
    ([OPENAI, look], ["x"], "Two tools are named 'look'"),
    (
        [{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "strin"}}}}],
        ["x"],
        "not a valid JSON schema: 'strin'",
    ),
    (
        [
            {
                "name": "f",
                "parameters": {
                    "type": "object",
                    "properties": {"me": {"$ref": "#"}},
                    "required": ["me"],
                },
            }
        ],
        ["x"],
        "without end",
    ),
    ([OPENAI], [HumanMessage("x"), ToolMessage("r", tool_call_id="9")], "the call '9'"),
    ([OPENAI], [HumanMessage([{"type": "image"}])], "holds no image"),
]


@pytest.mark.parametrize(("tools", "messages", "error"), WRONG_CALLS)
def test_wrong_call_raises(tools: list[Any], messages: list[Any], error: str) -> None:
    model = ChatLlava(backend=ScriptedBackend()).bind_tools(tools)
    with pytest.raises(langchain.ModelInvalidRequestError) as caught:
        model.invoke(messages)
    assert error in str(caught.value)


def test_response_format_beside_tools() -> None:
    backend, model = bound('{"colour": "red"}', response_format=Colour)
    assert model.invoke("x").content == '{"colour": "red"}'
    constraint = backend.requests[-1].constraint
    assert constraint.schema == Colour.model_json_schema()
    assert constraint.tools


class Colour(BaseModel):
    colour: Literal["red", "green"]


async def test_concurrent_requests_with_tools_schemas_and_text() -> None:
    def script(request: Request) -> str:
        text = request.messages[-1].text
        if request.constraint.tools:
            return call(request.constraint.tools[0].name, place=text)
        return json.dumps({"place": text}) if request.constraint.schema else f"you said {text}"

    model = ChatLlava(backend=ScriptedBackend(script))
    models: list[Any] = [
        model,
        model.bind_tools([OPENAI], tool_choice="any"),
        model.with_structured_output(PLACE),
    ]
    answers = await asyncio.gather(*(models[i % 3].ainvoke(f"n{i}") for i in range(32)))
    for i, answer in enumerate(answers):
        if i % 3 == 0:
            assert answer.content == f"you said n{i}"
        elif i % 3 == 1:
            assert answer.tool_calls[0]["args"] == {"place": f"n{i}"}
        else:
            assert answer == {"place": f"n{i}"}


def test_cache_key_includes_tools_and_tool_choice() -> None:
    backend = ScriptedBackend(["text"])
    model = ChatLlava(backend=backend, cache=InMemoryCache())
    for _ in range(2):
        model.invoke("x")
        model.bind_tools([OPENAI]).invoke("x")
        model.bind_tools([Look]).invoke("x")
        model.bind_tools([Look], tool_choice="none").invoke("x")
    assert len(backend.requests) == 4
