"""Tools and forms of answers: every way to bind them, what comes back, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain_core import exceptions as langchain
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolArg, tool
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1

from langchain_llava import ChatLlava
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import Constraint, ToolCall
from llava_tools.core.requests import Request
from llava_tools.testing import ScriptedBackend


class Look(BaseModel):
    """Look at a place."""

    place: str = Field(description="Where to look")
    times: int = 1


class LookV1(BaseModelV1):
    """Look at a place."""

    place: str


class LookDict(TypedDict):
    """Look at a place."""

    place: Annotated[str, ..., "Where to look"]


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


PLACE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
OPENAI = {"type": "function", "function": {"name": "look", "parameters": PLACE}}
ANTHROPIC = {"name": "look", "input_schema": PLACE}


def call(name: str = "look", **arguments: Any) -> str:
    return write_call(ToolCall("", name, arguments))


def bound(*answers: str, **options: Any) -> tuple[ScriptedBackend, Any]:
    """Return a backend and a model that is bound to `look`."""
    backend = ScriptedBackend(answers)
    return backend, ChatLlava(backend=backend).bind_tools([OPENAI], **options)


def constraint_of(model: Any, backend: ScriptedBackend) -> Constraint:
    model.invoke("x")
    return backend.requests[-1].constraint


@pytest.mark.parametrize(
    "given", [Look, LookV1, LookDict, look, tool(look), OPENAI, ANTHROPIC, secretly]
)
def test_tools_of_every_kind(given: Any) -> None:
    backend = ScriptedBackend(["no"])
    told = constraint_of(ChatLlava(backend=backend).bind_tools([given]), backend)
    (spec,) = told.tools
    assert spec.name.lower().startswith(("look", "secretly"))
    assert "place" in spec.parameters["properties"]
    assert "user" not in spec.parameters["properties"]
    assert "place" in spec.parameters["required"]


def test_recursion_is_kept() -> None:
    backend = ScriptedBackend(["no"])
    told = constraint_of(ChatLlava(backend=backend).bind_tools([Tree]), backend)
    assert "$ref" in json.dumps(told.tools[0].parameters)


@pytest.mark.parametrize(
    ("given", "choice"),
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
def test_choices(given: Any, choice: str) -> None:
    backend, model = bound(call(place="left"), tool_choice=given)
    assert constraint_of(model, backend).tool_choice == choice


@pytest.mark.parametrize("given", ["none", False])
def test_no_call_where_none_is_wanted(given: Any) -> None:
    backend, model = bound("words", tool_choice=given)
    assert constraint_of(model, backend).tool_choice == "none"


def test_options_of_binding() -> None:
    backend, model = bound("{}", parallel_tool_calls=False, strict=False)
    assert constraint_of(model, backend) == Constraint(
        backend.requests[-1].constraint.tools, parallel_tool_calls=False, strict=False
    )


def test_calls_come_back_with_ids_and_no_text() -> None:
    _, model = bound(call(place="left") + "\n" + call(place="right"))
    message = model.invoke("x")
    assert message.content == ""
    assert [made["args"] for made in message.tool_calls] == [{"place": "left"}, {"place": "right"}]
    assert len({made["id"] for made in message.tool_calls}) == 2
    assert message.response_metadata["finish_reason"] == "tool_calls"


async def test_calls_stream_as_chunks_that_add_up() -> None:
    _, model = bound(call(place="a b c") + "\n" + call(place="d"))
    chunks: list[AIMessageChunk] = [chunk async for chunk in model.astream("x")]
    pieces = [piece for chunk in chunks for piece in chunk.tool_call_chunks]
    assert [piece["name"] for piece in pieces if piece["name"]] == ["look", "look"]
    assert len([piece["id"] for piece in pieces if piece["id"]]) == 2
    assert len(pieces) > 4
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert [made["args"] for made in whole.tool_calls] == [{"place": "a b c"}, {"place": "d"}]
    assert not whole.invalid_tool_calls


def test_a_call_that_was_cut_off_is_an_error() -> None:
    _, model = bound(call(place="a b c d"))
    with pytest.raises(langchain.ModelError, match="cut off by max_tokens"):
        model.invoke("x", max_tokens=3)


def test_a_conversation_with_calls_goes_to_the_model_as_it_was() -> None:
    backend, model = bound("done")
    asked = [
        HumanMessage("x"),
        AIMessage("", tool_calls=[{"name": "look", "args": {"place": "a"}, "id": "1"}]),
        ToolMessage("nothing", tool_call_id="1"),
    ]
    model.invoke(asked)
    _, made, result = backend.requests[-1].messages
    assert made.tool_calls == (ToolCall("1", "look", {"place": "a"}),)
    assert (result.role, result.text, result.tool_call_id) == ("tool", "nothing", "1")


BAD_TOOLS: list[tuple[Callable[[], Any], str]] = [
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
        "65,536 are the most",
    ),
]


@pytest.mark.parametrize(("make", "words"), BAD_TOOLS)
def test_what_cannot_be_bound_is_refused_at_once(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(langchain.ModelInvalidRequestError) as caught:
        make()
    assert words in str(caught.value)


BAD_CALLS: list[tuple[list[Any], list[Any], str]] = [
    ([OPENAI, look], ["x"], "Two tools are named 'look'"),
    (
        [{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "strin"}}}}],
        ["x"],
        "no JSON schema: 'strin'",
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
    ([OPENAI], [HumanMessage([{"type": "image"}])], "holds no picture"),
]


@pytest.mark.parametrize(("tools", "messages", "words"), BAD_CALLS)
def test_what_cannot_be_asked_is_refused(tools: list[Any], messages: list[Any], words: str) -> None:
    model = ChatLlava(backend=ScriptedBackend()).bind_tools(tools)
    with pytest.raises(langchain.ModelInvalidRequestError) as caught:
        model.invoke(messages)
    assert words in str(caught.value)


FORMS: list[tuple[Any, Any]] = [
    (Look, Look(place="left")),
    (LookV1, LookV1(place="left")),
    (LookDict, {"place": "left"}),
    ({"title": "look", **PLACE}, {"place": "left"}),
    (OPENAI, {"place": "left"}),
]


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize(("form", "expected"), FORMS)
def test_answers_in_a_form(form: Any, expected: Any, method: Any) -> None:
    name = "Look" if form is Look else "LookV1" if form is LookV1 else "look"
    name = "LookDict" if form is LookDict else name
    text = json.dumps({"place": "left"})
    if method == "function_calling":
        text = call(name, place="left")
    backend = ScriptedBackend([text])
    model = ChatLlava(backend=backend).with_structured_output(form, method=method)
    assert model.invoke("x") == expected
    asked = backend.requests[-1].constraint
    assert asked.tool_choice == (name if method == "function_calling" else "auto")
    assert (asked.schema is None) is (method == "function_calling")
    assert list(model.stream("x"))[-1] == expected
    assert asyncio.run(model.ainvoke("x")) == expected


def test_a_json_schema_without_a_title_will_do() -> None:
    model = ChatLlava(backend=ScriptedBackend(['{"place": "a"}']))
    assert model.with_structured_output(PLACE).invoke("x") == {"place": "a"}


def test_any_object_without_a_schema() -> None:
    backend = ScriptedBackend(['{"b": [1]}'])
    model = ChatLlava(backend=backend).with_structured_output(method="json_mode")
    assert model.invoke("x") == {"b": [1]}
    assert backend.requests[-1].constraint.schema == {"type": "object"}


def test_what_only_pydantic_refuses_is_kept_with_include_raw() -> None:
    class Even(BaseModel):
        n: int

        def model_post_init(self, context_length: object) -> None:
            if self.n % 2:
                raise ValueError("odd")

    model = ChatLlava(backend=ScriptedBackend(['{"n": 3}']))
    told: Any = model.with_structured_output(Even, include_raw=True).invoke("x")
    assert told["parsed"] is None
    assert "odd" in str(told["parsing_error"])
    assert told["raw"].content == '{"n": 3}'


def test_an_agent_may_answer_in_a_form_or_call() -> None:
    backend, model = bound('{"colour": "red"}', response_format=Colour)
    assert model.invoke("x").content == '{"colour": "red"}'
    asked = backend.requests[-1].constraint
    assert asked.schema == Colour.model_json_schema()
    assert asked.tools


class Colour(BaseModel):
    colour: Literal["red", "green"]


async def test_many_at_once_get_their_own() -> None:
    """Mixed tools, forms and words: each answer belongs to its own request, none is lost."""

    def script(request: Request) -> str:
        said = request.messages[-1].text
        if request.constraint.tools:
            return call(request.constraint.tools[0].name, place=said)
        return json.dumps({"place": said}) if request.constraint.schema else f"you said {said}"

    model = ChatLlava(backend=ScriptedBackend(script))
    kinds: list[Any] = [
        model,
        model.bind_tools([OPENAI], tool_choice="any"),
        model.with_structured_output(PLACE),
    ]
    told = await asyncio.gather(*(kinds[i % 3].ainvoke(f"n{i}") for i in range(32)))
    for i, answer in enumerate(told):
        if i % 3 == 0:
            assert answer.content == f"you said n{i}"
        elif i % 3 == 1:
            assert answer.tool_calls[0]["args"] == {"place": f"n{i}"}
        else:
            assert answer == {"place": f"n{i}"}


def test_a_cache_tells_tools_and_forms_apart() -> None:
    backend = ScriptedBackend(["words"])
    model = ChatLlava(backend=backend, cache=InMemoryCache())
    for _ in range(2):
        model.invoke("x")
        model.bind_tools([OPENAI]).invoke("x")
        model.bind_tools([Look]).invoke("x")
        model.bind_tools([Look], tool_choice="none").invoke("x")
    assert len(backend.requests) == 4
