"""Structured prediction: the request has the class's schema, the answer becomes an instance."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.types import PydanticProgramMode
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel, Field, RootModel, field_validator

from llama_index.llms.llava import Llava
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.errors import OutputError, SchemaError
from llava_tools.images import open_image
from llava_tools.testing import ScriptedBackend
from tests.llama_index.test_llm import EventRecorder

PROMPT = PromptTemplate("What is the {item}?")
TEXT = '{"colour": "dark red", "doors": 3, "owner-name": "Kim"}'


class Car(BaseModel):
    colour: str
    doors: int = 4
    owner: str | None = Field(default=None, alias="owner-name")


KIMS = Car.model_validate_json(TEXT)


def _llm(*script: str, **options: Any) -> tuple[Llava, ScriptedBackend]:
    backend = ScriptedBackend(script or (TEXT,))
    return Llava(backend=backend, **options), backend


async def test_all_four_methods_return_the_instance() -> None:
    llm, backend = _llm(system_prompt="Be exact.")
    arguments: dict[str, Any] = {"llm_kwargs": {"seed": 3}, "item": "car"}
    outputs = [
        llm.structured_predict(Car, PROMPT, **arguments),
        list(llm.stream_structured_predict(Car, PROMPT, **arguments))[-1],
        await llm.astructured_predict(Car, PROMPT, **arguments),
        [o async for o in await llm.astream_structured_predict(Car, PROMPT, **arguments)][-1],
    ]
    assert outputs == [KIMS] * 4
    assert len(set(map(repr, backend.requests))) == 1
    request = backend.requests[0]
    assert [message.text for message in request.messages] == ["Be exact.", "What is the car?"]
    assert request.constraint.schema == Car.model_json_schema()
    assert request.sampling.seed == 3
    assert not request.constraint.tools


def test_streams_yield_partial_objects() -> None:
    llm, _ = _llm()
    *partials, last = llm.stream_structured_predict(Car, PROMPT, item="car")
    assert [getattr(partial, "colour", None) for partial in partials][:3] == [
        None,
        "dark",
        "dark red",
    ]
    assert len(partials) == len({partial.model_dump_json() for partial in partials})
    assert last == KIMS


def test_prompts_with_images(png: bytes) -> None:
    llm, backend = _llm()
    blocks = [ImageBlock(image=png), TextBlock(text="What is the {item}?")]
    prompt = ChatPromptTemplate(message_templates=[ChatMessage(blocks=blocks)])
    assert llm.structured_predict(Car, prompt, item="car") == KIMS
    assert backend.requests[0].messages[0].content == (open_image(png), "What is the car?")


async def test_as_a_structured_llm(png: bytes) -> None:
    llm, backend = _llm()
    messages = [ChatMessage(blocks=[ImageBlock(image=png), TextBlock(text="What {car}?")])]
    structured = llm.as_structured_llm(Car)
    assert structured.chat(messages).raw == KIMS
    assert (await structured.achat(messages)).raw == KIMS
    assert structured.complete("What car?").raw == KIMS
    assert list(structured.stream_chat(messages))[-1].raw == KIMS
    assert backend.requests[0].messages[0].images == (open_image(png),)


def test_root_models() -> None:
    class Colours(RootModel[list[str]]):
        pass

    llm, _ = _llm('["red", "blue"]')
    assert llm.structured_predict(Colours, PROMPT, item="car").root == ["red", "blue"]
    assert list(llm.stream_structured_predict(Colours, PROMPT, item="car")) == [
        Colours(["red", "blue"])
    ]


def test_invalid_answers_and_endless_schemas_raise() -> None:
    class Picky(BaseModel):
        colour: str

        @field_validator("colour")
        @classmethod
        def _check(cls, colour: str) -> str:
            raise ValueError("no colour will do")

    llm, _ = _llm('{"colour": "red"}')
    with pytest.raises(OutputError, match=r"Picky.*colour.*no colour will do"):
        llm.structured_predict(Picky, PROMPT, item="car")
    with pytest.raises(OutputError, match="max_tokens"):
        llm.structured_predict(Car, PROMPT, llm_kwargs={"max_tokens": 1}, item="car")
    llm, _ = _llm('{"doors": 3}')
    with pytest.raises(OutputError, match="colour"):
        llm.structured_predict(Car, PROMPT, item="car")

    class Endless(BaseModel):
        inside: Endless

    with pytest.raises(SchemaError, match="without end"):
        llm.structured_predict(Endless, PROMPT, item="car")


class Price(BaseModel):
    amount: Decimal = Field(max_digits=4, decimal_places=2)


async def test_decimals() -> None:
    llm, backend = _llm('{"amount": 1.07}')
    expected = Price(amount=Decimal("1.07"))
    assert llm.structured_predict(Price, PROMPT, item="car") == expected
    assert await llm.astructured_predict(Price, PROMPT, item="car") == expected
    assert llm.as_structured_llm(Price).complete("x").raw == expected
    for request in backend.requests:
        assert request.constraint.schema is not None
        assert request.constraint.schema["properties"]["amount"]["type"] == "number"


async def test_class_without_a_schema_raises() -> None:
    class Callback(BaseModel):
        run: Callable[[int], int]

    llm, backend = _llm()
    with pytest.raises(SchemaError, match="Callback has no JSON schema"):
        llm.structured_predict(Callback, PROMPT, item="car")
    with pytest.raises(SchemaError, match="Callback has no JSON schema"):
        await llm.astructured_predict(Callback, PROMPT, item="car")
    with pytest.raises(SchemaError, match="Callback has no JSON schema"):
        llm.as_structured_llm(Callback).chat([ChatMessage("x")])
    assert not backend.requests


@pytest.mark.parametrize(
    ("pattern", "message"),
    [(r"(a)\1", "backreferences"), ("(?=a)b", "strict=False"), (r"\bfoo", "strict=False")],
)
def test_pattern_outside_of_the_dialect_raises_before_an_answer(pattern: str, message: str) -> None:
    class Word(BaseModel):
        text: str = Field(json_schema_extra={"pattern": pattern})

    llm, backend = _llm('{"text": "foo"}')
    with pytest.raises(SchemaError, match=message):
        llm.structured_predict(Word, PROMPT, item="car")
    with pytest.raises(SchemaError, match=message):
        list(llm.as_structured_llm(Word).stream_chat([ChatMessage("x")]))
    assert not backend.requests


def test_lenient_model_checks_the_pattern_afterwards() -> None:
    class Word(BaseModel):
        text: str = Field(json_schema_extra={"pattern": "^(?!foo)[a-z]+$"})

    llm, _ = _llm('{"text": "bar"}', '{"text": "foot"}', strict=False)
    assert llm.structured_predict(Word, PROMPT, item="car").text == "bar"
    with pytest.raises(OutputError, match="does not match"):
        llm.structured_predict(Word, PROMPT, item="car")


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "json_schema", "json_schema": {"name": "f", "schema": Car.model_json_schema()}},
        {"type": "json_schema", "name": "f", "schema": Car.model_json_schema()},
        {"name": "f", "strict": True, "schema": Car.model_json_schema()},
        {"name": "f", "description": "d", "input_schema": Car.model_json_schema()},
    ],
)
def test_wrapped_response_format(response_format: dict[str, Any]) -> None:
    llm, backend = _llm(TEXT, "{}")
    assert llm.chat([ChatMessage("x")], response_format=response_format).message.content == TEXT
    assert backend.requests[-1].constraint.schema is not None
    with pytest.raises(OutputError, match="'colour' is a required property"):
        llm.chat([ChatMessage("x")], response_format=response_format)


def test_other_program_modes_use_llamaindexs_programs() -> None:
    call = write_call(ToolCall("", "Car", json.loads(TEXT)))
    llm, backend = _llm(call, pydantic_program_mode=PydanticProgramMode.FUNCTION)
    assert llm.structured_predict(Car, PROMPT, item="car") == KIMS
    assert list(llm.stream_structured_predict(Car, PROMPT, item="car"))
    constraint = backend.requests[0].constraint
    assert (constraint.tool_choice, [tool.name for tool in constraint.tools]) == ("any", ["Car"])


async def test_events() -> None:
    llm, _ = _llm()
    events = EventRecorder(names=[])
    get_dispatcher().add_event_handler(events)
    try:
        llm.structured_predict(Car, PROMPT, item="car")
        assert [o async for o in await llm.astream_structured_predict(Car, PROMPT, item="car")]
    finally:
        get_dispatcher().event_handlers.remove(events)
    names = [name for name in events.names if "Structured" in name]
    assert names[:2] == ["LLMStructuredPredictStartEvent", "LLMStructuredPredictEndEvent"]
    assert names[2:4] == ["LLMStructuredPredictStartEvent", "LLMStructuredPredictInProgressEvent"]
    assert names[-1] == "LLMStructuredPredictEndEvent"
