"""`image_block`, `with_handles` and `with_inline_images`: images by handle and back."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    ToolMessage,
    convert_to_openai_messages,
    message_to_dict,
)
from PIL import Image

from langchain_llava import ChatLlava, image_block, with_handles, with_inline_images
from langchain_llava import compat as langchain
from llava_tools.errors import RequestError
from llava_tools.images import open_image
from llava_tools.images.store import ImageStore
from llava_tools.testing import ScriptedBackend
from tests.strategies import encoded

PNG = encoded(Image.new("RGB", (5, 4), "green"), "PNG")
DATA = base64.b64encode(PNG).decode()
HANDLE = {"type": "image", "file_id": open_image(PNG).handle}
INLINE = {"type": "image", "base64": DATA, "mime_type": "image/png"}
#: The same image in the layouts of LangChain v1 and v0, OpenAI (two APIs) and Anthropic.
LAYOUTS: list[dict[str, Any]] = [
    INLINE,
    {"type": "image", "source_type": "base64", "data": DATA, "mime_type": "image/png"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
    {"type": "input_image", "image_url": f"data:image/png;base64,{DATA}"},
    {"type": "image", "source": {"type": "base64", "data": DATA, "media_type": "image/png"}},
]


def test_inline_images_become_handles(large_image: bytes) -> None:
    data = base64.b64encode(large_image).decode()
    messages = [
        HumanMessage([{"type": "image", "base64": data, "mime_type": "image/png"}, "What is it?"]),
        AIMessage("Noise."),
    ]
    small = with_handles(messages)
    assert len(str(small)) < 2000
    assert messages[0].content[0]["base64"] == data  # type: ignore[index]
    assert small[1] is messages[1]
    backend = ScriptedBackend()
    ChatLlava(backend=backend).invoke([*small, HumanMessage("Sure?")])
    ChatLlava(backend=backend).invoke([*messages, HumanMessage("Sure?")])
    first, second = (request.messages[0].images for request in backend.requests)
    assert first == second
    assert with_handles(small) == small


def test_error_for_an_unknown_handle_has_a_hint() -> None:
    block = {"type": "image", "file_id": "img_" + "f" * 24}
    with pytest.raises(langchain.ModelInvalidRequestError, match="Give the picture itself"):
        ChatLlava(backend=ScriptedBackend()).invoke([HumanMessage([block, "x"])])


def test_unreadable_image_raises_an_error_of_langchain() -> None:
    with pytest.raises(langchain.ModelInvalidRequestError, match="There is no file"):
        image_block("nowhere.png")


@pytest.mark.parametrize("block", LAYOUTS)
def test_every_layout_becomes_a_handle_and_a_standard_block(block: dict[str, Any]) -> None:
    store = ImageStore()
    text = {"type": "text", "text": "What is it?"}
    handles = with_handles([HumanMessage([block, text])], store)
    assert handles == [HumanMessage([HANDLE, text])]
    assert with_inline_images(handles, store) == [HumanMessage([INLINE, text])]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda content: {"role": "user", "content": content},
        lambda content: {"type": "human", "content": content},
        lambda content: message_to_dict(HumanMessage(content)),
        lambda content: ("human", content),
        lambda content: HumanMessage(content),
        lambda content: ToolMessage(content, tool_call_id="1"),
        lambda content: HumanMessage([{"type": "tool_result", "content": content}]),
    ],
    ids=["role", "type", "data", "pair", "object", "tool message", "tool result"],
)
def test_messages_of_every_form_and_back(wrap: Any) -> None:
    store = ImageStore()
    inline, handles = wrap([INLINE, "x"]), wrap([HANDLE, "x"])
    assert with_handles([inline], store) == [handles]
    assert with_inline_images([handles], store) == [inline]
    assert wrap([INLINE, "x"]) == inline  # not changed in place


@pytest.mark.parametrize(
    "message",
    ["Hello", {"role": "user", "content": "Hello"}, HumanMessage("Hello"), ("ai", "Hello")],
)
def test_messages_without_images_are_the_same(message: Any) -> None:
    assert with_handles([message]) == with_inline_images([message]) == [message]


@pytest.mark.parametrize("messages", ["hello", {"messages": []}, HumanMessage("hello"), None])
def test_what_is_no_list_of_messages_is_refused(messages: Any) -> None:
    for convert in (with_handles, with_inline_images):
        with pytest.raises(RequestError, match="Pass a list of messages"):
            convert(messages)


def test_d5_a_history_with_handles_goes_to_other_providers() -> None:
    store = ImageStore()
    block = image_block(PNG, store)
    history: list[Any] = [
        HumanMessage([block, "What is it?"]),
        AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}]),
        ToolMessage([block], tool_call_id="1"),
        {"role": "user", "content": [block]},
    ]
    converted = convert_to_openai_messages(with_inline_images(history, store))
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}
    assert converted[0]["content"] == [url, {"type": "text", "text": "What is it?"}]
    assert converted[2]["content"] == converted[3]["content"] == [url]


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_formats_that_providers_refuse_become_png(image_format: str) -> None:
    file = encoded(Image.new("RGB", (5, 4), "green"), image_format)
    store = ImageStore()
    [message] = with_inline_images([("human", [image_block(file, store)])], store)
    [block] = message[1]
    data = base64.b64decode(block["base64"])
    if image_format in ("JPEG", "WEBP", "GIF"):
        assert (data, block["mime_type"]) == (file, f"image/{image_format.lower()}")
    else:
        assert block["mime_type"] == "image/png"
        assert list(open_image(data).rgb().getdata()) == [(0, 128, 0)] * 20


def test_ids_of_other_providers_are_kept() -> None:
    messages = [("human", [{"type": "image", "file_id": "file-abc"}])]
    assert with_handles(messages) == with_inline_images(messages) == messages


def test_handles_of_another_store_are_unknown(tmp_path: Path) -> None:
    block = image_block(PNG, ImageStore())
    other = tmp_path / "store"
    with pytest.raises(langchain.ModelInvalidRequestError, match="Give the picture itself"):
        with_inline_images([HumanMessage([block])], other)
    assert image_block(PNG, other) == block
    assert with_inline_images([HumanMessage([block])], other) == [HumanMessage([INLINE])]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "url": "/etc/hostname"},
        {"type": "image", "url": "http://127.0.0.1:9/a.png"},
        {"type": "image", "base64": base64.b64encode(b"text").decode(), "mime_type": "image/png"},
        {"type": "image"},
    ],
)
def test_images_that_are_not_allowed_or_none_raise(block: dict[str, Any]) -> None:
    with pytest.raises(langchain.ModelInvalidRequestError):
        with_handles([HumanMessage([block])], ImageStore())
