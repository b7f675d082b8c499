"""LangChain's and LlamaIndex's adapters ask for the same and give back the same."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from PIL import Image

from langchain_llava import ChatLlava
from llama_index.llms.llava import Llava
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.testing import ScriptedBackend

CALLS: dict[str, dict[str, Any]] = {
    "look": {"picture": "img_0123456789abcdef01234567", "question": "which colour, and why?"},
    "add": {"a": 1, "b": -2},
    "now": {},
}
TYPES = {str: "string", int: "integer"}
PLACE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "rooms": {"type": "integer"}},
    "required": ["name"],
}
COLOURS = {"type": "array", "items": {"enum": ["red", "blue"]}}
ANSWERS = {
    json.dumps(PLACE): '{"name": "the old mill", "rooms": 3}',
    json.dumps(COLOURS): '["red"]',
}
TEXTS = [
    "What is it?",
    "Two words.",
    "USER: <image> </s> as text",
    "Größe 北京 🌍",
    "a\nb",
    "{x} {{y}}",
]


def _tool(name: str) -> dict[str, Any]:
    properties = {key: {"type": TYPES[type(value)]} for key, value in CALLS[name].items()}
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    function = {"name": name, "description": f"The tool {name}.", "parameters": parameters}
    return {"type": "function", "function": function}


@dataclass
class Turn:
    """A message in neither framework's words."""

    role: str
    parts: list[str | bytes]
    calls: list[ToolCall] = field(default_factory=list)
    tool_call_id: str = ""


@dataclass
class Asked:
    """A conversation and what is wanted of its answer."""

    turns: list[Turn]
    sampling: dict[str, Any]
    tools: list[str]
    choice: Any
    parallel: bool
    schema: Mapping[str, Any] | None
    lenient: bool


def _image(draw: random.Random) -> bytes:
    buffer = io.BytesIO()
    colour = (draw.randrange(256), draw.randrange(256), draw.randrange(256))
    Image.new("RGB", (draw.randint(1, 40), draw.randint(1, 40)), colour).save(buffer, "PNG")
    return buffer.getvalue()


def _parts(draw: random.Random) -> list[str | bytes]:
    """Texts and images in turn, so that no texts follow each other."""
    parts: list[str | bytes] = [draw.choice(TEXTS)]
    if draw.random() < 0.5:
        images: list[str | bytes] = [_image(draw) for _ in range(draw.randint(1, 2))]
        parts = images + parts if draw.random() < 0.7 else parts + images
    return parts


def _asked(draw: random.Random) -> Asked:
    turns = [Turn("system", [draw.choice(TEXTS)])] if draw.random() < 0.3 else []
    turns.append(Turn("user", _parts(draw)))
    for step in range(draw.randrange(3)):
        if draw.random() < 0.5:
            names = draw.sample(list(CALLS), draw.randint(1, 2))
            calls = [ToolCall(f"c{step}{name}", name, CALLS[name]) for name in names]
            turns.append(Turn("assistant", [draw.choice(["", "Wait."])], calls))
            turns += [Turn("tool", _parts(draw), tool_call_id=call.id) for call in calls]
        else:
            turns.append(Turn("assistant", [draw.choice(TEXTS)]))
            turns.append(Turn("user", _parts(draw)))
    tools = draw.sample(list(CALLS), draw.randrange(len(CALLS) + 1))
    choices = [None, "auto", "none", "any", "required", True, *tools]
    every: dict[str, Any] = {
        "max_tokens": 50,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "seed": 7,
    }
    sampling: dict[str, Any] = {name: every[name] for name in every if draw.random() < 0.4}
    if draw.random() < 0.3:
        sampling["stop"] = ["\nUSER:"]
    return Asked(
        turns,
        sampling,
        tools,
        choice=draw.choice(choices) if tools else None,
        parallel=draw.random() < 0.7,
        schema=draw.choice([None, PLACE, COLOURS]),
        lenient=draw.random() < 0.2,
    )


def _answer(request: Request) -> str:
    """Some answer of the kind that the request demands."""
    constraint = request.constraint
    if constraint.callable_tools and (constraint.requires_call or len(request.messages) % 2):
        calls = [write_call(ToolCall("", t.name, CALLS[t.name])) for t in constraint.callable_tools]
        return "\n".join(calls if constraint.parallel_tool_calls else calls[:1])
    if constraint.schema is not None:
        return ANSWERS[json.dumps(constraint.schema)]
    return f"{len(request.messages)} messages, {request.messages[-1].text}"


def _for_langchain(turn: Turn) -> BaseMessage:
    content: Any = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image", "base64": base64.b64encode(part).decode(), "mime_type": "image/png"}
        for part in turn.parts
    ]
    if turn.role == "tool":
        return ToolMessage(content, tool_call_id=turn.tool_call_id)
    if turn.role == "assistant":
        calls = [{"id": c.id, "name": c.name, "args": c.arguments} for c in turn.calls]
        return AIMessage(content, tool_calls=calls)
    return SystemMessage(content) if turn.role == "system" else HumanMessage(content)


def _for_llama_index(turn: Turn) -> ChatMessage:
    blocks: list[Any] = [
        TextBlock(text=part) if isinstance(part, str) else ImageBlock(image=part)
        for part in turn.parts
    ]
    blocks += [
        ToolCallBlock(tool_call_id=c.id, tool_name=c.name, tool_kwargs=dict(c.arguments))
        for c in turn.calls
    ]
    known = {"tool_call_id": turn.tool_call_id} if turn.tool_call_id else {}
    return ChatMessage(role=turn.role, blocks=blocks, additional_kwargs=known)


def _form(asked: Asked) -> dict[str, Any]:
    if asked.schema is None:
        return {}
    told = {"name": "answer", "schema": asked.schema}
    return {"response_format": {"type": "json_schema", "json_schema": told}}


async def _through_langchain(backend: ScriptedBackend, asked: Asked, way: int) -> Any:
    chat = ChatLlava(backend=backend)
    given = {"parallel_tool_calls": asked.parallel, "strict": not asked.lenient, **_form(asked)}
    tools = [_tool(name) for name in asked.tools]
    bound: Any = chat
    if tools:
        bound = chat.bind_tools(tools, tool_choice=asked.choice, **given)
    elif asked.schema is not None:
        bound = chat.bind(**given)
    messages = [_for_langchain(turn) for turn in asked.turns]
    ways: list[Callable[[], Any]] = [
        lambda: bound.ainvoke(messages, **asked.sampling),
        lambda: bound.invoke(messages, **asked.sampling),
        lambda: reduce(add, bound.stream(messages, **asked.sampling)),
        lambda: bound.astream(messages, **asked.sampling),
    ]
    answer = ways[way]()
    if way == 0:
        answer = await answer
    elif way == 3:
        answer = reduce(add, [chunk async for chunk in answer])
    return answer.text, [(call["name"], call["args"]) for call in answer.tool_calls]


async def _through_llama_index(backend: ScriptedBackend, asked: Asked, way: int) -> Any:
    llm = Llava(backend=backend)
    given: dict[str, Any] = {**asked.sampling, **_form(asked)}
    if asked.tools or asked.schema is not None:
        given |= {"allow_parallel_tool_calls": asked.parallel, "strict": not asked.lenient}
    if asked.tools:
        given |= {"tools": [_tool(name) for name in asked.tools], "tool_choice": asked.choice}
    messages = [_for_llama_index(turn) for turn in asked.turns]
    if way == 0:
        answer = await llm.achat(messages, **given)
    elif way == 1:
        answer = llm.chat(messages, **given)
    elif way == 2:
        *_, answer = llm.stream_chat(messages, **given)
    else:
        *_, answer = [chunk async for chunk in await llm.astream_chat(messages, **given)]
    calls = llm.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
    return answer.message.content or "", [(call.tool_name, call.tool_kwargs) for call in calls]


@pytest.mark.parametrize("number", range(100))
async def test_both_adapters_ask_and_answer_alike(number: int) -> None:
    asked = _asked(random.Random(number))
    backend = ScriptedBackend(_answer, context_length=20_000)
    one = await _through_langchain(backend, asked, number % 4)
    other = await _through_llama_index(backend, asked, number % 4)
    first, second = backend.requests
    assert first == second
    assert one == other


def test_the_requests_are_mixed() -> None:
    every = [_asked(random.Random(number)) for number in range(100)]
    assert sum(any(turn.calls for turn in asked.turns) for asked in every) > 20
    assert sum(bool(asked.tools) for asked in every) > 50
    assert sum(asked.schema is not None for asked in every) > 50
    images = [any(isinstance(part, bytes) for part in t.parts) for a in every for t in a.turns]
    assert sum(images) > 50
