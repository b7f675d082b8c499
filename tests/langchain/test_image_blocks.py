"""`image_block` and `with_handles`: images in messages by their handles."""

from __future__ import annotations

import base64

import pytest
from langchain_core import exceptions as langchain
from langchain_core.messages import AIMessage, HumanMessage

from langchain_llava import ChatLlava, image_block, with_handles
from llava_tools.testing import ScriptedBackend


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
