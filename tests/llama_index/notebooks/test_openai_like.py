"""LlamaIndex's OpenAILike, connected to the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llava_tools import Llava
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.testing import ScriptedBackend
from tests.server.live_server import LiveServer
from tests.server.openai.requests import IMAGE

openai_like = pytest.importorskip("llama_index.llms.openai_like")


class Ball(BaseModel):
    """A ball."""

    colour: str


def _script(request: Request) -> str:
    constraint = request.constraint
    if constraint.requires_call:
        return write_call(ToolCall("", constraint.callable_tools[0].name, {"colour": "red"}))
    last = request.messages[-1]
    return f"{last.role} has {len(last.images)} images and {len(last.text.split())} words"


@pytest.fixture(scope="module")
def llm() -> Iterator[Any]:
    with LiveServer(Llava(backend=ScriptedBackend(_script))) as server:
        yield openai_like.OpenAILike(
            model="scripted",
            api_base=f"{server.url}/v1",
            api_key="-",
            is_chat_model=True,
            is_function_calling_model=True,
            max_retries=0,
        )


IMAGE_MESSAGE = ChatMessage(
    role="user", blocks=[TextBlock(text="What is it?"), ImageBlock(image=IMAGE.data)]
)
EXPECTED = "user has 1 images and 3 words"


def test_chat(llm: Any) -> None:
    assert llm.chat([IMAGE_MESSAGE]).message.content == EXPECTED
    assert [chunk.message.content for chunk in llm.stream_chat([IMAGE_MESSAGE])][-1] == EXPECTED


async def test_chat_in_an_event_loop(llm: Any) -> None:
    assert (await llm.achat([IMAGE_MESSAGE])).message.content == EXPECTED
    stream = await llm.astream_chat([IMAGE_MESSAGE])
    assert [chunk.message.content async for chunk in stream][-1] == EXPECTED


def test_complete(llm: Any) -> None:
    assert llm.complete("one two").text == "user has 0 images and 2 words"


def test_tool_calls(llm: Any) -> None:
    def paint(colour: str) -> str:
        """Paint a ball."""
        return colour

    tool = FunctionTool.from_defaults(paint)
    answer = llm.chat_with_tools([tool], "Paint it red.", tool_required=True)
    (call,) = llm.get_tool_calls_from_response(answer)
    assert (call.tool_name, call.tool_kwargs) == ("paint", {"colour": "red"})
    response = llm.predict_and_call([tool], "Paint it red.", tool_choice="required")
    assert response.response == "red"


def test_structured_output(llm: Any) -> None:
    answer = llm.as_structured_llm(Ball).complete("What colour?")
    assert answer.raw == Ball(colour="red")
