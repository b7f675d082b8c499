"""ChatLlava: scripted answers in, LangChain's messages, chunks and parsed objects out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from pydantic import BaseModel

from langchain_llava import ChatLlava
from llava_tools.testing import ScriptedBackend
from tests.golden import inputs as i
from tests.golden.langchain_inputs import (
    ADD_ANSWER,
    IMAGE_BLOCKS,
    METHODS,
    PERSON_ANSWER,
    Person,
    Weather,
    add,
    shout,
)
from tests.golden.plain import error_as_dict, outcome, without_empty


def _metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return metadata with the names of its timings, but not their values."""
    values = dict(metadata)
    if "timings" in values:
        values["timings"] = sorted(values["timings"])
    return values


def ai_as_dict(message: AIMessage) -> dict[str, Any]:
    optional = {
        "tool_calls": [dict(call) for call in message.tool_calls],
        "invalid_tool_calls": [dict(call) for call in message.invalid_tool_calls],
        "usage": dict(message.usage_metadata or {}),
        "metadata": _metadata(message.response_metadata),
        "additional": message.additional_kwargs,
    }
    return {"type": message.type, "content": message.content, **without_empty(optional)}


def chunk_as_dict(chunk: AIMessageChunk) -> dict[str, Any]:
    optional = {
        "call_chunks": [dict(piece) for piece in chunk.tool_call_chunks],
        "usage": dict(chunk.usage_metadata or {}),
        "metadata": _metadata(chunk.response_metadata),
        "position": chunk.chunk_position,
    }
    return {"content": chunk.content, **without_empty(optional)}


def object_as_plain(value: Any) -> Any:
    if isinstance(value, AIMessage):
        return ai_as_dict(value)
    if isinstance(value, BaseModel):
        return {"object": value.model_dump()}
    if isinstance(value, Exception):
        return error_as_dict(value)
    if isinstance(value, dict):
        return {key: object_as_plain(item) for key, item in value.items()}
    return value


def _answer(
    script: str, tools: Sequence[Any] = (), messages: Any = "What?", **options: Any
) -> dict[str, Any]:
    """Return the message and the chunks of one question, and the sum of the chunks."""

    def model() -> Any:
        chat = ChatLlava(backend=ScriptedBackend([script]), **options)
        return chat.bind_tools(tools) if tools else chat

    def streamed() -> dict[str, Any]:
        chunks = list(model().stream(messages))
        total = chunks[0]
        for chunk in chunks[1:]:
            total += chunk
        return {"chunks": [chunk_as_dict(chunk) for chunk in chunks], "total": ai_as_dict(total)}

    return {
        "message": outcome(lambda: ai_as_dict(model().invoke(messages))),
        "streamed": outcome(streamed),
    }


def _generation(script: str, **options: Any) -> dict[str, Any]:
    """Return what `generate` tells beside the message."""
    result = ChatLlava(backend=ScriptedBackend([script]), **options).generate([[HumanMessage("?")]])
    (generation,) = result.generations[0]
    return {
        "text": generation.text,
        "info": generation.generation_info,
        "llm_output": result.llm_output,
    }


def _structured(form: Any, script: str, **options: Any) -> Any:
    model = ChatLlava(backend=ScriptedBackend([script]))
    chain = model.with_structured_output(form, **options)
    return outcome(lambda: object_as_plain(chain.invoke("Who?")))


def _structured_steps(form: Any, script: str, **options: Any) -> Any:
    model = ChatLlava(backend=ScriptedBackend([script]))
    chain = model.with_structured_output(form, **options)
    return outcome(lambda: [object_as_plain(step) for step in chain.stream("Who?")])


def _params() -> dict[str, Any]:
    """Return what traces and caches see of a model."""
    model = ChatLlava(model="7b", temperature=0.5, max_tokens=9, stop=["END"], context_length=512)
    return {
        "identifying": model._identifying_params,
        "traced": dict(model._get_ls_params()),
        "profile": dict(model.profile or {}),
        "type": model._llm_type,
    }


SEE = [("human", [IMAGE_BLOCKS["OpenAI"], "What?"])]
TWO = f'{ADD_ANSWER}\n<tool_call>{{"name": "shout", "arguments": {{"text": "ü"}}}}</tool_call>'

CASES: dict[str, Callable[[], Any]] = {
    "words": partial(_answer, "A red box."),
    "words about an image": partial(_answer, "Red.", messages=SEE),
    "no words": partial(_answer, ""),
    "cut off": partial(_answer, "one two three", max_tokens=2),
    "stopped": partial(_answer, "one END three", stop=["END"]),
    "logprobs": partial(_answer, "one two", logprobs=True, top_logprobs=1),
    "a call": partial(_answer, ADD_ANSWER, [add]),
    "two calls": partial(_answer, TWO, [add, shout]),
    "words where a call may be": partial(_answer, "No.", [add]),
    "a call cut off": partial(_answer, ADD_ANSWER, [add], max_tokens=2),
    "a call of an unknown tool": partial(_answer, ADD_ANSWER, [shout]),
    "too long": partial(_answer, "ok", max_tokens=5000),
    "generation": partial(_generation, "one two"),
    "generation with logprobs": partial(_generation, "one two", logprobs=True),
    "params": _params,
    **{
        f"structured: {name}{', raw' if raw else ''}": partial(
            _structured, Person, script, method=method, include_raw=raw
        )
        for name, (method, script) in METHODS.items()
        for raw in (False, True)
    },
    "structured: TypedDict": partial(_structured, Weather, '{"place": "x", "unit": "c"}'),
    "structured: a schema": partial(_structured, i.NUMBER, '{"n": 1}'),
    "structured: not of the schema": partial(_structured, Person, '{"age": 1}'),
    "structured: not of the schema, raw": partial(
        _structured, Person, '{"age": 1}', include_raw=True
    ),
    "structured: in steps": partial(_structured_steps, i.NUMBER, '{"n": 12}'),
    "structured: in steps of a class": partial(_structured_steps, Person, PERSON_ANSWER),
}
