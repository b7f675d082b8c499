"""I6: LlamaIndex's surfaces do not see the images of another user's store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from PIL import Image

import langchain_llava
from llama_index.llms.llava import (
    Llava,
    image_block,
    with_handles,
    with_inline_images,
)
from llama_index.llms.llava.image_handles import handle_block
from llama_index.readers.llava import LlavaPageReader
from llama_index.tools.llava import LlavaToolSpec
from llava_tools.errors import ImageError
from llava_tools.images import open_image
from llava_tools.images.store import ImageStore, shared_store
from llava_tools.model import Llava as Model
from llava_tools.testing import ScriptedBackend
from tests.strategies import encoded

SECRET = encoded(Image.new("RGB", (6, 6), "purple"), "PNG")
HANDLE = open_image(SECRET).handle
UNKNOWN = "img_" + "0" * 24


def question(handle: str) -> list[ChatMessage]:
    return [ChatMessage(blocks=[handle_block(handle), TextBlock(text="What is it?")])]


def llm(store: ImageStore) -> Llava:
    return Llava(backend=ScriptedBackend(), image_store=store)


def chat(store: ImageStore, handle: str) -> Any:
    return llm(store).chat(question(handle))


def stream_chat(store: ImageStore, handle: str) -> Any:
    return list(llm(store).stream_chat(question(handle)))


def achat(store: ImageStore, handle: str) -> Any:
    return asyncio.run(llm(store).achat(question(handle)))


def complete(store: ImageStore, handle: str) -> Any:
    return llm(store).complete("What is it?", image_documents=[handle_block(handle)])


def inline(store: ImageStore, handle: str) -> Any:
    return with_inline_images(question(handle), store)


def tool(name: str, **arguments: Any) -> Callable[[ImageStore, str], Any]:
    def call(store: ImageStore, handle: str) -> Any:
        spec = LlavaToolSpec(Model(backend=ScriptedBackend()), image_store=store, tools=[name])
        return spec.to_tool_list()[0].call(image=handle, **arguments)

    return call


SURFACES: list[Callable[[ImageStore, str], Any]] = [
    chat,
    stream_chat,
    achat,
    complete,
    inline,
    tool("look", question="What?"),
    tool("describe"),
    tool("zoom", box=[0, 0, 3, 3]),
]


@pytest.mark.parametrize("kind", ["memory", "directory"])
@pytest.mark.parametrize("surface", SURFACES)
def test_i6_another_user_s_handle_is_as_unknown_as_a_handle_of_nobody(
    surface: Callable[[ImageStore, str], Any], kind: str, tmp_path: Path
) -> None:
    owner, other = (
        ImageStore(directory=tmp_path / name if kind == "directory" else None) for name in "ab"
    )
    for store in (owner, shared_store()):
        store.add(open_image(SECRET))
    errors = []
    for handle in (HANDLE, UNKNOWN):
        with pytest.raises(ImageError) as caught:
            surface(other, handle)
        errors.append(str(caught.value).replace(handle, "img"))
    assert errors[0] == errors[1]
    assert surface(owner, HANDLE)
    assert HANDLE not in other


def test_handles_are_those_of_langchain_s_adapter() -> None:
    store = ImageStore()
    [message] = with_handles([ChatMessage(blocks=[ImageBlock(image=SECRET)])], store)
    assert message.blocks == [image_block(SECRET, store)]
    block = langchain_llava.image_block(SECRET, ImageStore())
    assert block["file_id"] == HANDLE
    requests = []
    for adapter in ("langchain", "llama_index"):
        backend = ScriptedBackend()
        if adapter == "langchain":
            model = langchain_llava.ChatLlava(backend=backend, image_store=store)
            model.invoke([HumanMessage([block, "What is it?"])])
        else:
            Llava(backend=backend, image_store=store).chat(question(HANDLE))
        requests.append(backend.requests[0].messages)
    assert requests[0] == requests[1]


def reader(**options: Any) -> Any:
    return LlavaPageReader(**options)


@pytest.mark.parametrize("make", [Llava, reader])
def test_written_options_name_the_folder_and_never_another_store(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    for store in (tmp_path, str(tmp_path), ImageStore(directory=tmp_path)):
        written = make(image_store=store).to_json()
        assert type(make()).from_json(written).image_store == str(tmp_path)
    with pytest.raises(ValueError, match="was in memory"):
        type(make()).from_json(make(image_store=ImageStore()).to_json())
