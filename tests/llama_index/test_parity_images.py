"""Both adapters name, keep and return images alike: stores, handles and their inverse."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage, TextBlock
from PIL import Image

import langchain_llava as lc
import llama_index.llms.llava as li
from llama_index.llms.llava.image_handles import handles_in
from llava_tools import open_image
from llava_tools.errors import ImageError, RequestError
from llava_tools.images.store import ImageStore
from llava_tools.testing import ScriptedBackend
from tests.strategies import encoded

QUESTION = "What is it?"


def _image(image_format: str = "PNG", colour: str = "green") -> bytes:
    return encoded(Image.new("RGB", (7, 5), colour), image_format)


def _langchain(image: Any, store: Any = None) -> HumanMessage:
    return HumanMessage([lc.image_block(image, store), {"type": "text", "text": QUESTION}])


def _llama_index(image: Any, store: Any = None) -> ChatMessage:
    return ChatMessage(blocks=[li.image_block(image, store), TextBlock(text=QUESTION)])


def _ask_langchain(message: HumanMessage, **options: Any) -> ScriptedBackend:
    backend = ScriptedBackend()
    lc.ChatLlava(backend=backend, **options).invoke([message])
    return backend


def _ask_llama_index(message: ChatMessage, **options: Any) -> ScriptedBackend:
    backend = ScriptedBackend()
    li.Llava(backend=backend, **options).chat([message])
    return backend


#: Makes a message with an image, and asks about it.
Adapter = tuple[Callable[..., Any], Callable[..., ScriptedBackend]]
ADAPTERS: list[Adapter] = [(_langchain, _ask_langchain), (_llama_index, _ask_llama_index)]


def _error(kind: type[Exception], work: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        work()
    return str(caught.value)


def test_handles_are_the_same() -> None:
    image = _image()
    block: Any = _langchain(image).content[0]
    handles = [block["file_id"], *handles_in(_llama_index(image))]
    assert handles == [open_image(image).handle] * 2


@pytest.mark.parametrize("kind", ["store", "folder", "path"])
def test_a_store_of_its_own_is_used(kind: str, tmp_path: Path) -> None:
    image = _image(colour=f"#00{len(kind)}0ff")
    store: Any = {"store": ImageStore(), "folder": str(tmp_path), "path": tmp_path}[kind]
    requests = []
    for message, ask in ADAPTERS:
        requests += ask(message(image, store), image_store=store).requests
    assert requests[0] == requests[1]
    assert [i.data for i in requests[0].messages[0].images] == [image]


@pytest.mark.parametrize("number", [0, 1])
def test_a_folder_is_shared_between_adapters(number: int, tmp_path: Path) -> None:
    image = _image(colour="blue")
    ADAPTERS[number][0](image, tmp_path)
    message, ask = ADAPTERS[1 - number]
    handle = open_image(image).handle
    (request,) = ask(message(image, tmp_path), image_store=ImageStore(directory=tmp_path)).requests
    assert request.messages[0].images[0].handle == handle
    assert len(ImageStore(directory=tmp_path)) == 1


def test_images_of_another_store_are_refused_alike() -> None:
    image, store = _image(colour="#123456"), ImageStore()
    errors = [
        _error(ImageError, lambda message=message, ask=ask: ask(message(image, store)))
        for message, ask in ADAPTERS
    ]
    assert errors[0] == errors[1]
    assert open_image(image).handle in errors[0]


def test_impossible_stores_are_refused_alike() -> None:
    errors = [
        _error(RequestError, lambda make=make: make(image_store=3))
        for make in (lc.ChatLlava, li.Llava)
    ]
    assert errors[0].replace("ChatLlava", "Llava") == errors[1]


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP"])
def test_inverse_returns_the_same_bytes(image_format: str) -> None:
    image, store = _image(image_format, "red"), ImageStore()
    (one,) = lc.with_inline_images([_langchain(image, store)], store)
    (other,) = li.with_inline_images([_llama_index(image, store)], store)
    block: Any = one.content[0]
    data = base64.b64decode(block["base64"])
    assert data == other.blocks[0].resolve_image().read()  # type: ignore[union-attr]
    assert block["mime_type"] == other.blocks[0].image_mimetype  # type: ignore[union-attr]
    assert (data == image) == (image_format != "BMP")
    # Inline images become handles again, and the model gets the same request.
    (named,) = lc.with_handles([one], store)
    (named_too,) = li.with_handles([other], store)
    requests = _ask_langchain(named, image_store=store).requests
    assert requests == _ask_llama_index(named_too, image_store=store).requests
    assert requests[0].messages[0].images[0].data == data


def test_missing_images_are_an_error_of_the_inverse_alike() -> None:
    image = _image(colour="#654321")
    store = ImageStore()
    errors = [
        _error(ImageError, lambda: lc.with_inline_images([_langchain(image, store)], ImageStore())),
        _error(
            ImageError, lambda: li.with_inline_images([_llama_index(image, store)], ImageStore())
        ),
    ]
    assert errors[0] == errors[1]


def test_dicts_are_taken_alike() -> None:
    image, store = _image(), ImageStore()
    url = "data:image/png;base64," + base64.b64encode(image).decode()
    part = {"type": "image_url", "image_url": {"url": url}}
    message: Any = {"role": "user", "content": [part]}
    (one,) = lc.with_handles([message], store)
    block = {"block_type": "image", "url": url}
    (other,) = li.with_handles([{"role": "user", "blocks": [block]}], store)
    assert one["content"][0]["file_id"] == open_image(image).handle
    assert handles_in(other) == [open_image(image).handle]
