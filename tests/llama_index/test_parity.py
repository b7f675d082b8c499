"""LangChain's and LlamaIndex's adapters send equal requests and return equal answers."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Mapping
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
    "look": {"image": "img_0123456789abcdef01234567", "question": "which colour, and why?"},
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
    """A message, independent of both frameworks."""

    role: str
    parts: list[str | bytes]
    calls: list[ToolCall] = field(default_factory=list)
    tool_call_id: str = ""


@dataclass
class Case:
    """A conversation and the options of its answer."""

    turns: list[Turn]
    sampling: dict[str, Any]
    tools: list[str]
    tool_choice: Any
    parallel: bool
    schema: Mapping[str, Any] | None
    strict: bool

    @property
    def response_format(self) -> dict[str, Any]:
        if self.schema is None:
            return {}
        json_schema = {"name": "answer", "schema": self.schema}
        return {"response_format": {"type": "json_schema", "json_schema": json_schema}}


def _image(rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
    Image.new("RGB", (rng.randint(1, 40), rng.randint(1, 40)), colour).save(buffer, "PNG")
    return buffer.getvalue()


def _parts(rng: random.Random) -> list[str | bytes]:
    """One text, and images before or after it."""
    parts: list[str | bytes] = [rng.choice(TEXTS)]
    if rng.random() < 0.5:
        images: list[str | bytes] = [_image(rng) for _ in range(rng.randint(1, 2))]
        parts = images + parts if rng.random() < 0.7 else parts + images
    return parts


def _case(seed: int) -> Case:
    rng = random.Random(seed)
    turns = [Turn("system", [rng.choice(TEXTS)])] if rng.random() < 0.3 else []
    turns.append(Turn("user", _parts(rng)))
    for step in range(rng.randrange(3)):
        if rng.random() < 0.5:
            names = rng.sample(list(CALLS), rng.randint(1, 2))
            calls = [ToolCall(f"c{step}{name}", name, CALLS[name]) for name in names]
            turns.append(Turn("assistant", [rng.choice(["", "Wait."])], calls))
            turns += [Turn("tool", _parts(rng), tool_call_id=call.id) for call in calls]
        else:
            turns.append(Turn("assistant", [rng.choice(TEXTS)]))
            turns.append(Turn("user", _parts(rng)))
    tools = rng.sample(list(CALLS), rng.randrange(len(CALLS) + 1))
    choices = [None, "auto", "none", "any", "required", True, *tools]
    options: dict[str, Any] = {
        "max_tokens": 50,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "seed": 7,
    }
    sampling: dict[str, Any] = {name: options[name] for name in options if rng.random() < 0.4}
    if rng.random() < 0.3:
        sampling["stop"] = ["\nUSER:"]
    return Case(
        turns,
        sampling,
        tools,
        tool_choice=rng.choice(choices) if tools else None,
        parallel=rng.random() < 0.7,
        schema=rng.choice([None, PLACE, COLOURS]),
        strict=rng.random() >= 0.2,
    )


def _script(request: Request) -> str:
    """Return an answer that the request's constraint allows."""
    constraint = request.constraint
    if constraint.callable_tools and (constraint.requires_call or len(request.messages) % 2):
        calls = [write_call(ToolCall("", t.name, CALLS[t.name])) for t in constraint.callable_tools]
        return "\n".join(calls if constraint.parallel_tool_calls else calls[:1])
    if constraint.schema is not None:
        return ANSWERS[json.dumps(constraint.schema)]
    return f"{len(request.messages)} messages, {request.messages[-1].text}"


def _langchain_message(turn: Turn) -> BaseMessage:
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


def _llama_index_message(turn: Turn) -> ChatMessage:
    blocks: list[Any] = [
        TextBlock(text=part) if isinstance(part, str) else ImageBlock(image=part)
        for part in turn.parts
    ]
    blocks += [
        ToolCallBlock(tool_call_id=c.id, tool_name=c.name, tool_kwargs=dict(c.arguments))
        for c in turn.calls
    ]
    kwargs = {"tool_call_id": turn.tool_call_id} if turn.tool_call_id else {}
    return ChatMessage(role=turn.role, blocks=blocks, additional_kwargs=kwargs)


async def _langchain_answer(backend: ScriptedBackend, case: Case, method: str) -> Any:
    chat = ChatLlava(backend=backend)
    options = {"parallel_tool_calls": case.parallel, "strict": case.strict, **case.response_format}
    runnable: Any = chat
    if case.tools:
        tools = [_tool(name) for name in case.tools]
        runnable = chat.bind_tools(tools, tool_choice=case.tool_choice, **options)
    elif case.schema is not None:
        runnable = chat.bind(**options)
    messages = [_langchain_message(turn) for turn in case.turns]
    if method == "achat":
        answer = await runnable.ainvoke(messages, **case.sampling)
    elif method == "chat":
        answer = runnable.invoke(messages, **case.sampling)
    elif method == "stream_chat":
        answer = reduce(add, runnable.stream(messages, **case.sampling))
    else:
        chunks = [chunk async for chunk in runnable.astream(messages, **case.sampling)]
        answer = reduce(add, chunks)
    return answer.text, [(call["name"], call["args"]) for call in answer.tool_calls]


async def _llama_index_answer(backend: ScriptedBackend, case: Case, method: str) -> Any:
    llm = Llava(backend=backend)
    options: dict[str, Any] = {**case.sampling, **case.response_format}
    if case.tools or case.schema is not None:
        options |= {"allow_parallel_tool_calls": case.parallel, "strict": case.strict}
    if case.tools:
        tools = [_tool(name) for name in case.tools]
        options |= {"tools": tools, "tool_choice": case.tool_choice}
    messages = [_llama_index_message(turn) for turn in case.turns]
    if method == "achat":
        answer = await llm.achat(messages, **options)
    elif method == "chat":
        answer = llm.chat(messages, **options)
    elif method == "stream_chat":
        *_, answer = llm.stream_chat(messages, **options)
    else:
        *_, answer = [chunk async for chunk in await llm.astream_chat(messages, **options)]
    calls = llm.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
    return answer.message.content or "", [(call.tool_name, call.tool_kwargs) for call in calls]


@pytest.mark.parametrize("seed", range(100))
async def test_both_adapters_send_the_same_request_and_return_the_same_answer(seed: int) -> None:
    case = _case(seed)
    method = ("achat", "chat", "stream_chat", "astream_chat")[seed % 4]
    backend = ScriptedBackend(_script, context_length=20_000)
    langchain_answer = await _langchain_answer(backend, case, method)
    llama_index_answer = await _llama_index_answer(backend, case, method)
    langchain_request, llama_index_request = backend.requests
    assert langchain_request == llama_index_request
    assert langchain_answer == llama_index_answer


def test_the_cases_are_mixed() -> None:
    cases = [_case(seed) for seed in range(100)]
    assert sum(any(turn.calls for turn in case.turns) for case in cases) > 20
    assert sum(bool(case.tools) for case in cases) > 50
    assert sum(case.schema is not None for case in cases) > 50
    images = [any(isinstance(p, bytes) for p in turn.parts) for c in cases for turn in c.turns]
    assert sum(images) > 50
