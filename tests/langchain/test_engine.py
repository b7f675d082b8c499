"""`ChatLlava` on a real engine with random weights: batches, streams, tools, schemas."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from PIL import Image

from langchain_llava import ChatLlava


def question_about(colour: str, question: str) -> list[HumanMessage]:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(buffer, "PNG")
    image = base64.b64encode(buffer.getvalue()).decode()
    block = {"type": "image", "base64": image, "mime_type": "image/png"}
    return [HumanMessage([{"type": "text", "text": question}, block])]


CONVERSATIONS = [
    question_about(colour, question)
    for colour in ("red", "green", "blue", "white")
    for question in ("What is it?", "And how many are there, please?")
]


@pytest.fixture
def model(checkpoint: Path) -> ChatLlava:
    # In bfloat16 the last bits of a row depend on how many rows are computed with it.
    return ChatLlava(model=str(checkpoint), max_tokens=12, dtype="float32")


async def test_batch_answers_equal_single_answers(model: ChatLlava) -> None:
    single = [model.invoke(messages).content for messages in CONVERSATIONS]
    assert len(set(single)) > 1
    batch = await model.abatch([*CONVERSATIONS, *CONVERSATIONS])
    assert [message.content for message in batch] == [*single, *single]
    assert [message.content for message in model.batch(CONVERSATIONS)] == single


async def test_sum_of_chunks_equals_the_message(model: ChatLlava) -> None:
    message = model.invoke(CONVERSATIONS[0], logprobs=True, top_logprobs=2)
    merged: AIMessageChunk | None = None
    async for chunk in model.astream(CONVERSATIONS[0], logprobs=True, top_logprobs=2):
        merged = chunk if merged is None else merged + chunk
    assert merged is not None
    assert merged.content == message.content
    assert merged.usage_metadata is not None
    assert message.usage_metadata is not None
    assert merged.usage_metadata["total_tokens"] == message.usage_metadata["total_tokens"]
    streamed, complete = (m.response_metadata["logprobs"]["content"] for m in (merged, message))
    assert [item["token"] for item in streamed] == [item["token"] for item in complete]
    assert all(len(item["top_logprobs"]) == 2 for item in complete)
    assert len(complete) == message.usage_metadata["output_tokens"]


async def test_engine_works_after_a_cancelled_stream(model: ChatLlava) -> None:
    expected = model.invoke(CONVERSATIONS[1]).content
    started = asyncio.Event()

    async def read() -> None:
        async for _ in model.astream(CONVERSATIONS[0], max_tokens=100):
            started.set()

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert (await model.ainvoke(CONVERSATIONS[1])).content == expected


def tool(number: int) -> dict[str, Any]:
    """A tool that accepts one value only."""
    fields = {"number": {"const": number}}
    parameters = {"type": "object", "properties": fields, "required": ["number"]}
    return {"name": f"take_{number}", "description": "Take it.", "parameters": parameters}


def schema(number: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"place": {"const": f"n{number}"}, "side": {"enum": ["left", "right"]}},
        "required": ["place", "side"],
    }


async def test_thirty_two_mixed_requests_get_their_own_answers(checkpoint: Path) -> None:
    model = ChatLlava(model=str(checkpoint), max_tokens=150)

    def invoke(number: int) -> Any:
        question = f"Question {number}?"
        if number % 4 == 0:
            return model.ainvoke(question, max_tokens=6)
        if number % 4 == 1:
            tools = [tool(number), tool(number + 100)]
            return model.bind_tools(tools, tool_choice=f"take_{number}").ainvoke(question)
        if number % 4 == 2:
            return model.with_structured_output(schema(number)).ainvoke(question)
        bound = model.bind_tools([tool(number)], tool_choice="any", parallel_tool_calls=False)
        return bound.ainvoke(question, temperature=1.0, seed=number)

    answers = await asyncio.gather(*map(invoke, range(32)))
    assert len(answers) == 32
    for number, answer in enumerate(answers):
        if number % 4 == 0:
            single = await model.ainvoke(f"Question {number}?", max_tokens=6)
            assert answer.content == single.content
            assert answer.usage_metadata["output_tokens"] <= 6
        elif number % 4 == 2:
            assert answer["place"] == f"n{number}"
            assert answer["side"] in ("left", "right")
        else:
            (call,) = answer.tool_calls
            assert (call["name"], call["args"]) == (f"take_{number}", {"number": number})
    model.close()


async def test_calls_are_streamed(checkpoint: Path) -> None:
    chat = ChatLlava(model=str(checkpoint), max_tokens=150)
    model: Any = chat.bind_tools([tool(7)], tool_choice="any")
    merged: Any = None
    chunks = []
    async for chunk in model.astream("Well?", parallel_tool_calls=False):
        chunks += chunk.tool_call_chunks
        merged = chunk if merged is None else merged + chunk
    assert [item["name"] for item in chunks if item["name"]] == ["take_7"]
    assert json.loads("".join(item["args"] or "" for item in chunks)) == {"number": 7}
    assert merged.tool_calls[0]["args"] == {"number": 7}
    assert merged.usage_metadata["output_tokens"] > 10


async def test_answer_outlives_its_model_if_another_one_holds_the_engine(checkpoint: Path) -> None:
    other = ChatLlava(model=str(checkpoint), max_tokens=12)
    expected = other.invoke("Name a colour.").content
    model = ChatLlava(model=str(checkpoint), max_tokens=12)
    stream = model.stream("Name a colour.")
    texts = [next(stream).content]
    model.close()
    texts += [chunk.content for chunk in stream]
    assert "".join(map(str, texts)) == expected
    parts = []
    async for chunk in model.astream("Name a colour."):
        model.close()
        parts.append(chunk.content)
    assert "".join(map(str, parts)) == expected
    other.close()
