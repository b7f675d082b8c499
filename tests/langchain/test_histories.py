"""Histories that other models and agents wrote: `ChatLlava` answers them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from pydantic import BaseModel

from langchain_llava import ChatLlava
from langchain_llava.messages import to_messages
from llava_tools.chat import prompt
from llava_tools.core.requests import Message
from llava_tools.errors import RequestError
from llava_tools.images.access import ImageResolver
from llava_tools.testing import ScriptedBackend


def convert(*messages: BaseMessage) -> tuple[Message, ...]:
    return to_messages(messages, ImageResolver())


def turns(*messages: BaseMessage) -> list[tuple[str, str]]:
    """Return the turns that the model reads, after the check that every request passes."""
    converted = convert(*messages)
    prompt.check_tool_results(converted)
    return [(turn.role, turn.text) for turn in prompt.write_turns(converted)[1]]


async def answers(history: Sequence[BaseMessage]) -> list[str]:
    """Return the answers of all ways to call a model."""
    model = ChatLlava(backend=ScriptedBackend(["answered"]))
    messages = [
        model.invoke(list(history)),
        await model.ainvoke(list(history)),
        *model.batch([list(history)]),
        *(await model.abatch([list(history)])),
        *model.stream(list(history)),
        *[chunk async for chunk in model.astream(list(history))],
    ]
    return [message.text for message in messages]


BROKEN = {"name": "look", "args": '{"at": ', "id": "c1", "error": "not JSON"}
AFTER_SERVER_TOOLS = [
    HumanMessage("Who won?"),
    AIMessage([{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, "Ann."]),
    HumanMessage("Sure?"),
]


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([HumanMessage("Hi"), AIMessage("Hello")], id="ends with an answer"),
        pytest.param([HumanMessage("Hi"), AIMessageChunk(content="Hello")], id="ends with a chunk"),
        pytest.param([AIMessage("Hello", name="writer")], id="another agent's message alone"),
        pytest.param([HumanMessage("Hi"), AIMessage("")], id="ends with an empty answer"),
        pytest.param(AFTER_SERVER_TOOLS, id="tools of another provider"),
        pytest.param(
            [
                HumanMessage("Look."),
                AIMessage("", invalid_tool_calls=[BROKEN]),
                ToolMessage("not JSON", tool_call_id="c1", status="error"),
            ],
            id="an invalid call and its error",
        ),
        pytest.param(
            [
                HumanMessage("Look."),
                AIMessage("", tool_calls=[{"name": "f", "args": {"on": date.min}, "id": "1"}]),
                ToolMessage("nothing", tool_call_id="1"),
            ],
            id="a date among the arguments",
        ),
    ],
)
async def test_history_is_answered(history: list[BaseMessage]) -> None:
    assert await answers(history) == ["answered"] * 6


def test_model_goes_on_after_an_assistants_message() -> None:
    backend = ScriptedBackend()
    ChatLlava(backend=backend).invoke([HumanMessage("Hi"), AIMessage("Hello")])
    assert [message.text for message in backend.requests[0].messages] == ["Hi", "Hello"]
    assert turns(HumanMessage("Hi"), AIMessage("Hello")) == [
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Please continue."),
    ]


WRITTEN = '{"name": "look", "arguments": "{\\"at\\": "}'


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(AIMessage("", invalid_tool_calls=[BROKEN]), id="field"),
        pytest.param(
            AIMessage([{"type": "invalid_tool_call", **BROKEN}], invalid_tool_calls=[BROKEN]),
            id="field and block",
        ),
        pytest.param(
            AIMessage(
                [
                    {
                        "type": "function_call",
                        "call_id": "c1",
                        "id": "fc_1",
                        "name": "look",
                        "arguments": BROKEN["args"],
                    }
                ],
                invalid_tool_calls=[BROKEN],
            ),
            id="field and OpenAI's item",
        ),
    ],
)
def test_model_sees_its_invalid_call_once_and_the_error(attempt: AIMessage) -> None:
    error = ToolMessage("not JSON", tool_call_id="c1", status="error")
    assert turns(HumanMessage("Look."), attempt, error) == [
        ("user", "Look."),
        ("assistant", WRITTEN),
        ("user", "Error of look: not JSON"),
    ]


def test_valid_and_invalid_calls_of_one_message() -> None:
    message = AIMessage(
        "Let me.",
        tool_calls=[{"name": "f", "args": {}, "id": "1"}],
        invalid_tool_calls=[BROKEN],
    )
    results = [ToolMessage("3", tool_call_id="1"), ToolMessage("bad", tool_call_id="c1", name="g")]
    assert turns(HumanMessage("?"), message, *results)[1:] == [
        (
            "assistant",
            f'Let me.{WRITTEN}\n<tool_call>{{"name": "f", "arguments": {{}}}}</tool_call>',
        ),
        ("user", "Result of f: 3\nResult of g: bad"),
    ]


def test_result_of_no_call_is_still_refused() -> None:
    with pytest.raises(RequestError, match="no earlier message"):
        turns(HumanMessage("?"), ToolMessage("3", tool_call_id="other", name="f"))


def test_function_message_is_the_result_of_a_tool() -> None:
    assert turns(HumanMessage("?"), FunctionMessage(content="3", name="f")) == [
        ("user", "?\nResult of f: 3")
    ]


FOREIGN_BLOCKS: dict[str, dict[str, Any]] = {
    "anthropic server_tool_use": {
        "type": "server_tool_use",
        "id": "srvtoolu_1",
        "name": "web_search",
        "input": {"query": "tea"},
    },
    "anthropic web_search_tool_result": {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [{"type": "web_search_result", "url": "https://x", "title": "t"}],
    },
    "anthropic mcp_tool_use": {"type": "mcp_tool_use", "id": "1", "name": "f", "input": {}},
    "anthropic code_execution_tool_result": {"type": "code_execution_tool_result", "content": {}},
    "anthropic compaction": {"type": "compaction", "content": "so far"},
    "openai web_search_call": {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    "openai mcp_list_tools": {"type": "mcp_list_tools", "id": "m", "tools": []},
    "openai code_interpreter_call": {"type": "code_interpreter_call", "id": "c", "code": "1"},
    "openai image_generation_call": {"type": "image_generation_call", "result": "aGk="},
    "gemini executable_code": {"type": "executable_code", "executable_code": "print(1)"},
    "gemini code_execution_result": {"type": "code_execution_result", "outcome": 1},
    "gemini signature": {"type": "function_call_signature", "signature": "s"},
    "bedrock reasoning_content": {"type": "reasoning_content", "reasoning_content": {"text": "h"}},
    "bedrock cache point": {"cachePoint": {"type": "default"}},
    "bedrock citation": {"type": "citation", "cited_text": "x"},
    "v1 server_tool_call": {"type": "server_tool_call", "id": "1", "name": "f", "args": {}},
    "v1 server_tool_result": {"type": "server_tool_result", "tool_call_id": "1", "output": "x"},
    "v1 non_standard": {"type": "non_standard", "value": {"type": "other"}},
    "v1 tool_call_chunk": {"type": "tool_call_chunk", "name": "f", "args": "{", "id": "1"},
    "anthropic input_json_delta": {"type": "input_json_delta", "partial_json": "{"},
}


@pytest.mark.parametrize("block", FOREIGN_BLOCKS.values(), ids=FOREIGN_BLOCKS.keys())
def test_what_only_another_provider_can_read_is_left_out(block: dict[str, Any]) -> None:
    text = {"type": "text", "text": "Tea."}
    (message,) = convert(AIMessage([block, text]))
    assert (message.content, message.tool_calls) == (("Tea.",), ())


def test_cache_points_are_left_out_of_every_message() -> None:
    point: dict[str, Any] = {"cachePoint": {"type": "default"}}
    for message_type in (SystemMessage, HumanMessage):
        assert convert(message_type(["Hi", point]))[0].content == ("Hi",)


@pytest.mark.parametrize("kind", ["audio", "video", "file"])
def test_media_of_an_assistant_are_not_dropped_silently(kind: str) -> None:
    with pytest.raises(RequestError, match=f"'{kind}'"):
        convert(AIMessage([{"type": kind, "base64": "aa"}]))


class Colour(Enum):
    RED = "red"


class Point(BaseModel):
    x: int
    at: date


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (date(2024, 5, 17), "2024-05-17"),
        (datetime(2024, 5, 17, 8, 30), "2024-05-17T08:30:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.50"), "1.50"),
        (Colour.RED, "red"),
        ({1}, [1]),
        ((1, 2), [1, 2]),
        (b"\xff", "_w=="),
        (Point(x=1, at=date(2024, 5, 17)), {"x": 1, "at": "2024-05-17"}),
        (ImageResolver, str(ImageResolver)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arguments_of_calls_are_written_as_json(value: object, written: object) -> None:
    call = {"name": "f", "args": {"a": "猫", "nested": [value]}, "id": "1"}
    (_, turn, *_) = turns(HumanMessage("?"), AIMessage("", tool_calls=[call]))
    text = turn[1].removeprefix("<tool_call>").removesuffix("</tool_call>")
    assert json.loads(text) == {"name": "f", "arguments": {"a": "猫", "nested": [written]}}
    assert "猫" in text
