"""`with_handles`, `with_inline_images` and `image_block` for LlamaIndex's messages."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import CitableBlock
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.memory import ChatMemoryBuffer
from PIL import Image

from llama_index.llms.llava import Llava, image_block, with_handles, with_inline_images
from llava_tools.errors import ImageError
from llava_tools.images import open_image
from llava_tools.images.store import ImageStore
from llava_tools.testing import ScriptedBackend
from tests.llama_index.releases import since
from tests.strategies import encoded

PNG = encoded(Image.new("RGB", (5, 4), "green"), "PNG")
INLINE = ImageBlock(image=PNG)
TEXT = TextBlock(text="What is it?")


def _bytes(message: ChatMessage) -> bytes:
    block = message.blocks[0]
    assert isinstance(block, ImageBlock)
    assert isinstance(block.image, bytes)
    return base64.b64decode(block.image)


@pytest.mark.parametrize(
    "block",
    [
        INLINE,
        ImageBlock(image=BytesIO(PNG)),
        ImageBlock(url=f"data:image/png;base64,{base64.b64encode(PNG).decode()}"),
    ],
    ids=["bytes", "file", "data URL"],
)
def test_images_become_handles_and_come_back(block: ImageBlock) -> None:
    store = ImageStore()
    message = ChatMessage(blocks=[block, TEXT])
    [named] = with_handles([message], store)
    assert named.blocks == [image_block(PNG, store), TEXT]
    assert message.blocks[0] is block
    assert with_handles([named], ImageStore()) == [named]  # not looked up
    [inline] = with_inline_images([named], store)
    assert inline.blocks == [ImageBlock(image=PNG, image_mimetype="image/png"), TEXT]
    assert _bytes(inline) == PNG


def test_dicts_and_citations_and_messages_without_images() -> None:
    store = ImageStore()
    message = ChatMessage(blocks=[CitableBlock(title="t", source="s", content=[INLINE])])
    handle = image_block(PNG, store)
    expected = [CitableBlock(title="t", source="s", content=[handle])]
    assert with_handles([message], store)[0].blocks == expected
    [from_dict] = with_handles([{"role": "user", "blocks": [INLINE.model_dump()]}], store)
    assert from_dict == ChatMessage(blocks=[handle])
    [text] = with_inline_images([{"role": "assistant", "content": "Green."}], store)
    assert text == ChatMessage("Green.", role="assistant")
    plain = ChatMessage("Hello")
    assert with_handles([plain])[0] is with_inline_images([plain])[0] is plain


@since("0.14.16", "messages with images have no token estimates")
def test_handles_are_small_and_survive_json_and_token_estimates() -> None:
    store = ImageStore()
    block = image_block(Image.effect_noise((300, 300), 90), store)
    message = ChatMessage(blocks=[block, TEXT])
    assert len(message.model_dump_json()) < 400
    again = ChatMessage.model_validate_json(message.model_dump_json())
    assert again == message
    assert again.estimate_tokens() > 0
    assert with_inline_images([again], store) == with_inline_images([message], store)


@pytest.mark.parametrize("way", ["chat", "complete"])
def test_llava_looks_handles_up_in_its_own_store(way: str) -> None:
    store, backend = ImageStore(), ScriptedBackend(lambda request: "Green.")
    block = image_block(PNG, store)

    def ask(llm: Llava) -> Any:
        if way == "chat":
            return llm.chat([ChatMessage(blocks=[block, TEXT])])
        return llm.complete("What is it?", image_documents=[block])

    ask(Llava(backend=backend, image_store=store))
    assert [image.data for image in backend.requests[0].messages[0].images] == [PNG]
    with pytest.raises(ImageError, match="no picture"):
        ask(Llava(backend=backend, image_store=ImageStore()))


def test_history_of_another_store_object_with_the_same_folder(tmp_path: Path) -> None:
    history = with_handles([ChatMessage(blocks=[INLINE, TEXT])], tmp_path)
    memory = ChatMemoryBuffer.from_defaults(chat_history=history)
    backend = ScriptedBackend(lambda request: "Green.")
    Llava(backend=backend, image_store=tmp_path).chat(memory.get())
    assert [image.data for image in backend.requests[0].messages[0].images] == [PNG]


def test_bmp_becomes_png_for_other_models() -> None:
    store = ImageStore()
    block = image_block(encoded(Image.new("RGB", (5, 4), "green"), "BMP"), store)
    [message] = with_inline_images([ChatMessage(blocks=[block])], store)
    image = open_image(_bytes(message))
    assert (image.media_type, image.rgb().getpixel((0, 0))) == ("image/png", (0, 128, 0))


def test_block_that_only_claims_to_hold_a_handle_is_refused() -> None:
    block = ImageBlock(image=b"../secret", image_mimetype="application/x-llava-handle")
    with pytest.raises(ImageError, match="holds no handle"):
        Llava(backend=ScriptedBackend()).chat([ChatMessage(blocks=[block])])


def test_local_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    with pytest.raises(ImageError, match="local path"):
        with_handles([ChatMessage(blocks=[ImageBlock(path=tmp_path / "a.png")])], ImageStore())
