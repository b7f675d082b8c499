"""Structured prediction: the class's schema is the request's, its instances come back."""

from __future__ import annotations

import json
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
from tests.llama_index.test_llm import _Events

PROMPT = PromptTemplate("What is the {thing}?")
TEXT = '{"colour": "dark red", "doors": 3, "owner-name": "Kim"}'


class Car(BaseModel):
    colour: str
    doors: int = 4
    owner: str | None = Field(default=None, alias="owner-name")


KIMS = Car.model_validate_json(TEXT)


def _llm(*script: str, **options: Any) -> tuple[Llava, ScriptedBackend]:
    backend = ScriptedBackend(script or (TEXT,))
    return Llava(backend=backend, **options), backend


async def test_all_four_ways_give_the_instance() -> None:
    llm, backend = _llm(system_prompt="Be exact.")
    given: dict[str, Any] = {"llm_kwargs": {"seed": 3}, "thing": "car"}
    outputs = [
        llm.structured_predict(Car, PROMPT, **given),
        list(llm.stream_structured_predict(Car, PROMPT, **given))[-1],
        await llm.astructured_predict(Car, PROMPT, **given),
        [o async for o in await llm.astream_structured_predict(Car, PROMPT, **given)][-1],
    ]
    assert outputs == [KIMS] * 4
    assert len(set(map(repr, backend.requests))) == 1
    request = backend.requests[0]
    assert [message.text for message in request.messages] == ["Be exact.", "What is the car?"]
    assert request.constraint.schema == Car.model_json_schema()
    assert request.sampling.seed == 3
    assert not request.constraint.tools


def test_steps_fill_the_fields() -> None:
    llm, _ = _llm()
    *steps, last = llm.stream_structured_predict(Car, PROMPT, thing="car")
    assert [getattr(step, "colour", None) for step in steps][:3] == [
        None,
        "dark",
        "dark red",
    ]
    assert len(steps) == len({step.model_dump_json() for step in steps})
    assert last == KIMS


def test_prompts_with_images(png: bytes) -> None:
    llm, backend = _llm()
    blocks = [ImageBlock(image=png), TextBlock(text="What is the {thing}?")]
    prompt = ChatPromptTemplate(message_templates=[ChatMessage(blocks=blocks)])
    assert llm.structured_predict(Car, prompt, thing="car") == KIMS
    assert backend.requests[0].messages[0].content == (open_image(png), "What is the car?")


async def test_as_a_structured_llm(png: bytes) -> None:
    llm, backend = _llm()
    asked = [ChatMessage(blocks=[ImageBlock(image=png), TextBlock(text="What {car}?")])]
    structured = llm.as_structured_llm(Car)
    assert structured.chat(asked).raw == KIMS
    assert (await structured.achat(asked)).raw == KIMS
    assert structured.complete("What car?").raw == KIMS
    assert list(structured.stream_chat(asked))[-1].raw == KIMS
    assert backend.requests[0].messages[0].images == (open_image(png),)


def test_models_that_are_no_objects() -> None:
    class Colours(RootModel[list[str]]):
        pass

    llm, _ = _llm('["red", "blue"]')
    assert llm.structured_predict(Colours, PROMPT, thing="car").root == ["red", "blue"]
    assert list(llm.stream_structured_predict(Colours, PROMPT, thing="car")) == [
        Colours(["red", "blue"])
    ]


def test_what_cannot_be_an_answer_is_an_error() -> None:
    class Picky(BaseModel):
        colour: str

        @field_validator("colour")
        @classmethod
        def _check(cls, colour: str) -> str:
            raise ValueError("no colour will do")

    llm, _ = _llm('{"colour": "red"}')
    with pytest.raises(OutputError, match=r"Picky.*colour.*no colour will do"):
        llm.structured_predict(Picky, PROMPT, thing="car")
    with pytest.raises(OutputError, match="max_tokens"):
        llm.structured_predict(Car, PROMPT, llm_kwargs={"max_tokens": 1}, thing="car")
    llm, _ = _llm('{"doors": 3}')
    with pytest.raises(OutputError, match="colour"):
        llm.structured_predict(Car, PROMPT, thing="car")

    class Endless(BaseModel):
        inside: Endless

    with pytest.raises(SchemaError, match="without end"):
        llm.structured_predict(Endless, PROMPT, thing="car")


def test_other_program_modes_are_llamaindexs_own() -> None:
    call = write_call(ToolCall("", "Car", json.loads(TEXT)))
    llm, backend = _llm(call, pydantic_program_mode=PydanticProgramMode.FUNCTION)
    assert llm.structured_predict(Car, PROMPT, thing="car") == KIMS
    assert list(llm.stream_structured_predict(Car, PROMPT, thing="car"))
    constraint = backend.requests[0].constraint
    assert (constraint.tool_choice, [tool.name for tool in constraint.tools]) == ("any", ["Car"])


async def test_events() -> None:
    llm, _ = _llm()
    events = _Events(seen=[])
    get_dispatcher().add_event_handler(events)
    try:
        llm.structured_predict(Car, PROMPT, thing="car")
        assert [o async for o in await llm.astream_structured_predict(Car, PROMPT, thing="car")]
    finally:
        get_dispatcher().event_handlers.remove(events)
    told = [name for name in events.seen if "Structured" in name]
    assert told[:2] == ["LLMStructuredPredictStartEvent", "LLMStructuredPredictEndEvent"]
    assert told[2:4] == ["LLMStructuredPredictStartEvent", "LLMStructuredPredictInProgressEvent"]
    assert told[-1] == "LLMStructuredPredictEndEvent"
