"""`ChatLlava` on a real engine, with weights that have learned nothing: what must hold anyway."""

from __future__ import annotations

import asyncio
import base64
import io
from contextlib import suppress
from pathlib import Path

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from PIL import Image

from langchain_llava import ChatLlava


def about(colour: str, question: str) -> list[HumanMessage]:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(buffer, "PNG")
    image = base64.b64encode(buffer.getvalue()).decode()
    block = {"type": "image", "base64": image, "mime_type": "image/png"}
    return [HumanMessage([{"type": "text", "text": question}, block])]


ASKED = [
    about(colour, question)
    for colour in ("red", "green", "blue", "white")
    for question in ("What is it?", "And how many are there, please?")
]


@pytest.fixture
def model(checkpoint: Path) -> ChatLlava:
    return ChatLlava(model=str(checkpoint), max_tokens=12)


async def test_many_at_once_answer_what_each_alone_answers(model: ChatLlava) -> None:
    alone = [model.invoke(messages).content for messages in ASKED]
    assert len(set(alone)) > 1
    at_once = await model.abatch([*ASKED, *ASKED])
    assert [message.content for message in at_once] == [*alone, *alone]
    assert [message.content for message in model.batch(ASKED)] == alone


async def test_added_up_chunks_are_the_message(model: ChatLlava) -> None:
    message = model.invoke(ASKED[0], logprobs=True, top_logprobs=2)
    whole: AIMessageChunk | None = None
    async for chunk in model.astream(ASKED[0], logprobs=True, top_logprobs=2):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert whole.content == message.content
    assert whole.usage_metadata is not None
    assert message.usage_metadata is not None
    assert whole.usage_metadata["total_tokens"] == message.usage_metadata["total_tokens"]
    streamed, told = (m.response_metadata["logprobs"]["content"] for m in (whole, message))
    assert [item["token"] for item in streamed] == [item["token"] for item in told]
    assert all(len(item["top_logprobs"]) == 2 for item in told)
    assert len(told) == message.usage_metadata["output_tokens"]


async def test_a_cancelled_stream_leaves_the_engine_working(model: ChatLlava) -> None:
    expected = model.invoke(ASKED[1]).content
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in model.astream(ASKED[0], max_tokens=100):
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert (await model.ainvoke(ASKED[1])).content == expected
