"""Messages, image blocks, tools and forms of answers as LangChain's users write them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Literal

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages import ToolCall as Called
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from langchain_llava import image_block, with_handles
from tests.golden import inputs as i

PNG = base64.b64decode(i.PNG_BASE64)
ADD_CALL = Called(name="add", args={"a": 1}, id="c1", type="tool_call")


class Person(BaseModel):
    """Somebody."""

    name: str = Field(description="Full name.")
    age: int | None = None


class Weather(TypedDict):
    """Weather of a place."""

    place: str
    unit: Literal["c", "f"]


def add(a: int, b: int = 2) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


@tool
def shout(text: str, times: int = 1) -> str:
    """Say it loudly."""
    return text.upper() * times


OPENAI_TOOL = {
    "type": "function",
    "function": {"name": "count", "description": "Count.", "parameters": i.NUMBER},
}
ANTHROPIC_TOOL = {"name": "count", "description": "Count.", "input_schema": i.NUMBER}
TOOLS = [add, Person, Weather, shout, OPENAI_TOOL]

ADD_ANSWER = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
PERSON_ANSWER = '{"name": "Ada", "age": 36}'
PERSON_CALL = f'<tool_call>{{"name": "Person", "arguments": {PERSON_ANSWER}}}</tool_call>'

#: Every layout of an image block.
IMAGE_BLOCKS: dict[str, dict[str, Any]] = {
    "OpenAI": {"type": "image_url", "image_url": {"url": i.DATA_URL}},
    "OpenAI with detail": {"type": "image_url", "image_url": {"url": i.DATA_URL, "detail": "low"}},
    "OpenAI, only a string": {"type": "image_url", "image_url": i.DATA_URL},
    "OpenAI responses": {"type": "input_image", "image_url": i.DATA_URL},
    "LangChain v1 base64": {"type": "image", "base64": i.PNG_BASE64, "mime_type": "image/png"},
    "LangChain v1 url": {"type": "image", "url": i.DATA_URL},
    "LangChain v0 base64": {
        "type": "image",
        "source_type": "base64",
        "data": i.PNG_BASE64,
        "mime_type": "image/png",
    },
    "LangChain v0 url": {"type": "image", "source_type": "url", "url": i.DATA_URL},
    "Anthropic base64": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": i.PNG_BASE64},
    },
    "Anthropic url": {"type": "image", "source": {"type": "url", "url": i.DATA_URL}},
    "bytes": {"type": "image", "data": PNG, "mime_type": "image/png"},
    "with further keys": {
        "type": "image",
        "base64": i.PNG_BASE64,
        "mime_type": "image/png",
        "cache_control": {"type": "ephemeral"},
    },
}


def block_message(*content: Any) -> list[BaseMessage]:
    return [HumanMessage(list(content))]


def _handle_blocks() -> list[BaseMessage]:
    handle = image_block(i.pixels())["file_id"]
    return block_message(
        image_block(i.pixels()),
        {"type": "image", "source_type": "id", "id": handle},
        {"type": "image", "source": {"type": "file", "file_id": handle}},
        "What?",
    )


def _ai_blocks() -> AIMessage:
    return AIMessage(
        [
            {"type": "thinking", "thinking": "Hm."},
            {"type": "text", "text": "Let me."},
            {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
            {"type": "tool_call", "id": "c2", "name": "add", "args": '{"a": 2}'},
            {"type": "function_call", "call_id": "c3", "name": "add", "arguments": "{broken"},
        ]
    )


def _invalid_call() -> list[BaseMessage]:
    call = {"name": "add", "args": "{", "id": "c7", "error": "no", "type": "invalid_tool_call"}
    return [
        HumanMessage("Add."),
        AIMessage("Hm.", invalid_tool_calls=[call]),
        HumanMessage("Again."),
    ]


CONVERSATIONS: dict[str, Callable[[], Any]] = {
    "a string": lambda: "What?",
    "tuples": lambda: [("system", "Be brief."), ("human", "What?")],
    "messages": lambda: [
        SystemMessage("Be brief."),
        HumanMessage("What?"),
        AIMessage("That."),
        HumanMessage("Why?"),
    ],
    "chunks": lambda: [HumanMessage("What?"), AIMessageChunk("That."), HumanMessage("Why?")],
    "other roles": lambda: [
        ChatMessage("Be brief.", role="developer"),
        ChatMessage("What?", role="user"),
        ChatMessage("That.", role="assistant"),
        ChatMessage("Why?", role="human"),
    ],
    "text blocks": lambda: block_message(
        {"type": "text", "text": "One"},
        {"type": "input_text", "text": "two"},
        {"type": "text-plain", "text": "three"},
        "four",
        {"text": "five"},
    ),
    "a refusal and thoughts": lambda: [
        HumanMessage("What?"),
        AIMessage(
            [{"type": "reasoning", "reasoning": "Hm."}, {"type": "refusal", "refusal": "No."}]
        ),
        HumanMessage("Please."),
    ],
    "images between texts": lambda: block_message(
        "One", IMAGE_BLOCKS["OpenAI"], "two", IMAGE_BLOCKS["bytes"], "three"
    ),
    "handles": _handle_blocks,
    "images replaced by handles": lambda: with_handles(
        block_message("One", {"type": "image", "base64": i.PNG_BASE64}, *IMAGE_BLOCKS.values())
    ),
    "calls and results": lambda: [
        HumanMessage("Add."),
        AIMessage("Let me.", tool_calls=[ADD_CALL]),
        ToolMessage("3", tool_call_id="c1"),
    ],
    "a failed result with a name": lambda: [
        HumanMessage("Add."),
        AIMessage("", tool_calls=[ADD_CALL]),
        ToolMessage("No.", tool_call_id="c1", name="sum", status="error"),
    ],
    "a result with an image": lambda: [
        HumanMessage("Add."),
        AIMessage("", tool_calls=[ADD_CALL]),
        ToolMessage(["Here:", IMAGE_BLOCKS["OpenAI"]], tool_call_id="c1"),
    ],
    "calls in blocks": lambda: [
        HumanMessage("Add."),
        _ai_blocks(),
        ToolMessage("3", tool_call_id="c1"),
        HumanMessage([{"type": "tool_result", "tool_use_id": "c2", "content": "4"}]),
    ],
    "an invalid call": _invalid_call,
    "a function's message": lambda: [HumanMessage("Add."), FunctionMessage("3", name="add")],
}

SAMPLING = {
    "max_tokens": 7,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "stop": ["END"],
    "seed": 3,
    "logprobs": True,
    "top_logprobs": 2,
}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": i.NUMBER}}
METHODS: dict[str, tuple[str, str]] = {
    "json_schema": ("json_schema", PERSON_ANSWER),
    "function_calling": ("function_calling", PERSON_CALL),
    "json_mode": ("json_mode", PERSON_ANSWER),
}
