from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_llava.messages import to_messages
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Message
from llava_tools.errors import ImageError, RequestError
from llava_tools.images import ImageRef, open_image
from llava_tools.images.access import ImageResolver

Content = list[str | dict[str, Any]]
NO_PATHS = ImageResolver()


def convert(*messages: BaseMessage, resolver: ImageResolver = NO_PATHS) -> tuple[Message, ...]:
    return to_messages(messages, resolver)


def content_of(message: BaseMessage) -> tuple[str | ImageRef, ...]:
    return convert(message)[0].content


IMAGE_LAYOUTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "openai": lambda b64: {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{b64}", "detail": "low"},
    },
    "openai, a string": lambda b64: {
        "type": "image_url",
        "image_url": f"data:image/png;base64,{b64}",
    },
    "openai responses": lambda b64: {
        "type": "input_image",
        "image_url": f"data:image/png;base64,{b64}",
    },
    "v1 base64": lambda b64: {"type": "image", "base64": b64, "mime_type": "image/png"},
    "v1 without a type": lambda b64: {"type": "image", "base64": b64, "id": "lc_1"},
    "v1 url": lambda b64: {"type": "image", "url": f"data:image/png;base64,{b64}"},
    "v1 data URL as base64": lambda b64: {
        "type": "image",
        "base64": f"data:image/png;base64,{b64}",
    },
    "v0 base64": lambda b64: {
        "type": "image",
        "source_type": "base64",
        "data": b64,
        "mime_type": "image/png",
    },
    "v0 url": lambda b64: {
        "type": "image",
        "source_type": "url",
        "url": f"data:image/png;base64,{b64}",
    },
    "anthropic": lambda b64: {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": b64},
        "cache_control": {"type": "ephemeral"},
    },
    "anthropic url": lambda b64: {
        "type": "image",
        "source": {"type": "url", "url": f"data:image/png;base64,{b64}"},
    },
    "bytes": lambda b64: {"type": "image", "base64": base64.b64decode(b64)},
}


@pytest.mark.parametrize("layout", IMAGE_LAYOUTS)
@pytest.mark.parametrize("role", ["human", "tool"])
def test_every_layout_of_image_blocks(layout: str, role: str, png: bytes, png_base64: str) -> None:
    content: Content = [
        "before ",
        IMAGE_LAYOUTS[layout](png_base64),
        {"type": "text", "text": "after"},
    ]
    message = (
        HumanMessage(content) if role == "human" else ToolMessage(content, tool_call_id="call")
    )
    assert content_of(message) == ("before ", open_image(png), "after")


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "url": "{}/x.png"},
        {"type": "image_url", "image_url": {"url": "{}/x.png"}},
        {"type": "image", "source": {"type": "url", "url": "{}/x.png"}},
    ],
)
def test_urls_are_fetched_from_allowed_hosts(
    block: dict[str, Any], image_server: str, png: bytes
) -> None:
    block = json.loads(json.dumps(block).replace("{}", image_server))
    with pytest.raises(ImageError, match="private"):
        content_of(HumanMessage([block]))
    allowed = ImageResolver(allowed_hosts=["127.0.0.1"])
    assert convert(HumanMessage([block]), resolver=allowed)[0].content == (open_image(png),)


@pytest.mark.parametrize("as_url", [False, True])
def test_local_paths_have_to_be_allowed(as_url: bool, tmp_path: Path, png: bytes) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(png)
    message = HumanMessage([{"type": "image", "url": path.as_uri() if as_url else str(path)}])
    with pytest.raises(ImageError, match=r"red\.png.*allow_local_paths=True"):
        content_of(message)
    allowing = ImageResolver(allow_local_paths=True)
    if as_url:
        with pytest.raises(ImageError, match="Give the path itself"):
            convert(message, resolver=allowing)
    else:
        assert convert(message, resolver=allowing)[0].images == (open_image(png),)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("plain", ("plain",)),
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, ("a",)),
        ({"text": "a"}, ("a",)),
        ({"type": "input_text", "text": "a"}, ("a",)),
        ({"type": "output_text", "text": "a", "annotations": []}, ("a",)),
        ({"type": "text-plain", "text": "a", "mime_type": "text/plain"}, ("a",)),
        ({"type": "refusal", "refusal": "no"}, ("no",)),
        ({"type": "thinking", "thinking": "hm", "signature": "s"}, ()),
        ({"type": "redacted_thinking", "data": "s"}, ()),
        ({"type": "reasoning", "reasoning": "hm"}, ()),
        ({"type": "tool_result", "tool_use_id": "1", "content": "a"}, ("a",)),
        ({"type": "tool_result", "content": [{"type": "text", "text": "a"}]}, ("a",)),
        ({"type": "tool_result", "tool_use_id": "1"}, ("",)),
        (
            {"type": "search_result", "title": "t", "content": [{"type": "text", "text": "a"}]},
            ("a",),
        ),
        ({"type": "guard_content", "text": "a"}, ("a",)),
        ({"type": "json", "json": {"a": 1}}, ('{"a": 1}',)),
        ({"cachePoint": {"type": "default"}}, ()),
    ],
)
def test_text_blocks(block: str | dict[str, Any], expected: tuple[str, ...]) -> None:
    assert content_of(HumanMessage([block])) == expected


@pytest.mark.parametrize(
    ("block", "fragments"),
    [
        ({"type": "audio", "base64": "aa", "mime_type": "audio/wav"}, ["'audio'", "Transcribe"]),
        ({"type": "input_audio", "input_audio": {}}, ["'input_audio'", "Transcribe"]),
        ({"type": "video", "url": "https://x/y.mp4"}, ["'video'", "frames"]),
        ({"type": "file", "base64": "aa", "mime_type": "application/pdf"}, ["'file'", "pages"]),
        ({"type": "document", "source": {}}, ["'document'", "pages"]),
        ({"type": "text-plain", "url": "https://x/y.txt"}, ["'text-plain'", "text"]),
        ({"type": "image"}, ["holds no image", "'type'"]),
        ({"type": "image", "base64": "", "mime_type": "image/png"}, ["'base64', 'mime_type'"]),
        ({"type": "image_url", "image_url": {}}, ["holds no image", "'image_url'"]),
        ({"type": "image_url", "image_url": {"url": ""}}, ["holds no image"]),
        ({"type": "image", "source": {"type": "base64"}}, ["holds no image", "'source'"]),
        ({"type": "image", "file_id": "img_0123"}, ["no picture 'img_0123'", "never given"]),
        ({"type": "image", "source_type": "id", "id": "img_1"}, ["no picture 'img_1'"]),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, ["no picture 'f'"]),
        ({"type": "image", "base64": "%%%"}, ["base64"]),
        ({"type": "image", "base64": "aGVsbG8="}, []),
        ({"type": "text"}, ["without text", "'type'"]),
        ({"type": "text", "text": 3}, ["without text"]),
        ({"type": "hologram", "x": 1}, ["'hologram'", "'x'"]),
        ({"type": ["text"]}, ["without text"]),
        ({}, ["without text"]),
    ],
)
@pytest.mark.parametrize("message_type", [HumanMessage, ToolMessage])
def test_block_that_cannot_be_converted_raises(
    block: dict[str, Any],
    fragments: list[str],
    message_type: type[HumanMessage] | type[ToolMessage],
) -> None:
    keywords = {"tool_call_id": "1"} if message_type is ToolMessage else {}
    with pytest.raises(RequestError) as caught:
        content_of(message_type([{"type": "text", "text": "Look:"}, block], **keywords))
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


def test_roles() -> None:
    with warnings.catch_warnings(action="ignore"):
        function = FunctionMessage(content="r", name="f")
    messages = [
        SystemMessage("s"),
        HumanMessage("h", name="ann"),
        AIMessage("a"),
        ToolMessage("t", tool_call_id="1"),
        function,
        ChatMessage(content="d", role="developer"),
        ChatMessage(content="u", role="User"),
        ChatMessage(content="b", role="assistant"),
        HumanMessageChunk(content="hc"),
        AIMessageChunk(content="ac"),
    ]
    assert [(message.role, message.text) for message in convert(*messages)] == [
        ("system", "s"),
        ("user", "h"),
        ("assistant", "a"),
        ("tool", "t"),
        ("tool", "r"),
        ("system", "d"),
        ("user", "u"),
        ("assistant", "b"),
        ("user", "hc"),
        ("assistant", "ac"),
    ]


@pytest.mark.parametrize(
    "message", [ChatMessage(content="x", role="critic"), RemoveMessage(id="1")]
)
def test_unknown_role_raises(message: BaseMessage) -> None:
    with pytest.raises(RequestError, match="is not a role"):
        convert(message)


def test_image_in_a_system_or_assistant_message_raises(png_base64: str) -> None:
    block = {"type": "image", "base64": png_base64}
    for message in (SystemMessage([block]), AIMessage([block])):
        with pytest.raises(RequestError, match="Move it to a user or tool message"):
            convert(message)


def test_call_in_field_and_block_is_converted_once() -> None:
    message = AIMessage(
        [
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "1", "name": "look", "input": {"at": "猫"}},
        ],
        tool_calls=[{"name": "look", "args": {"at": "猫"}, "id": "1"}],
    )
    (converted,) = convert(message)
    assert converted.text == "Let me see."
    assert converted.tool_calls == (ToolCall("1", "look", {"at": "猫"}),)


@pytest.mark.parametrize(
    ("block", "call"),
    [
        ({"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}, ("1", {"a": 1})),
        ({"type": "tool_call", "id": "1", "name": "f", "args": {"a": 1}}, ("1", {"a": 1})),
        (
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"a": 1}'},
            ("1", {"a": 1}),
        ),
        ({"type": "tool_use", "name": "f", "input": {}}, ("", {})),
    ],
)
def test_calls_in_blocks_only(block: dict[str, Any], call: tuple[str, object]) -> None:
    (message,) = convert(AIMessage([block]))
    assert [(item.id, item.arguments) for item in message.tool_calls] == [call]
    assert not message.content


def test_invalid_call_becomes_text() -> None:
    block = {"type": "invalid_tool_call", "name": "f", "args": '{"a": '}
    (message,) = convert(AIMessage([block]))
    assert not message.tool_calls
    assert json.loads(message.text) == {"name": "f", "arguments": '{"a": '}


def test_tool_message_has_call_id_and_error_status() -> None:
    call = {"name": "f", "args": {}, "id": "c"}
    _, result = convert(
        AIMessage("", tool_calls=[call]), ToolMessage("no", tool_call_id="c", status="error")
    )
    assert (result.tool_call_id, result.is_error) == ("c", True)


def test_handle_of_an_earlier_image_opens_it(png_base64: str) -> None:
    (message,) = convert(HumanMessage([{"type": "image", "base64": png_base64}]))
    handle = message.images[0].handle
    for block in (
        {"type": "image", "file_id": handle},
        {"type": "image", "source_type": "id", "id": handle},
        {"type": "image", "source": {"type": "file", "file_id": handle}},
    ):
        (other,) = convert(HumanMessage([block]))
        assert other.images == message.images


def test_conversion_leaves_messages_unchanged(png_base64: str) -> None:
    message = HumanMessage([{"type": "image", "base64": png_base64}, "x"])
    before = message.model_dump_json()
    convert(message)
    assert message.model_dump_json() == before
