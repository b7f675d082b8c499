"""Handles (`img_…`) instead of images in LlamaIndex's messages, and back.

A handle stands in an `ImageBlock` in place of the image's bytes, with a media type of its own, so
that LlamaIndex stores and copies it like an image. `Llava` looks it up in its image store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import CitableBlock, ContentBlock, ImageBlock
from llama_index.core.llms import ChatMessage

from llama_index.llms.llava.images import HANDLE_TYPE, image_handle, open_image_block
from llava_tools.images import ImageSource
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStoreLike, open_store

#: A message, or the dict of one.
AnyMessage = ChatMessage | Mapping[str, Any]


def image_block(source: ImageSource, image_store: ImageStoreLike = None) -> ImageBlock:
    """Return a content block that names an image by its handle.

    Args:
        source: A path, URL, bytes, a PIL image or an `ImageRef`, from your own code.
        image_store: Keeps the image: an `ImageStore` or the folder of one; by default the store of
            the process.

    Raises:
        ImageError: The image is not usable.
        ImageStoreError: The folder of the store cannot be used.
    """
    return handle_block(ImageResolver(image_store).add(source))


def with_handles(
    messages: Iterable[AnyMessage],
    image_store: ImageStoreLike = None,
    *,
    allowed_hosts: Iterable[str] = (),
) -> list[ChatMessage]:
    """Return copies of messages with handles instead of images, for memories and chat stores.

    Args:
        messages: A conversation, also as dicts. Its images may be bytes, data URLs and http(s)
            URLs, never local files.
        image_store: Keeps the images: an `ImageStore` or the folder of one; by default the store of
            the process.
        allowed_hosts: Hosts ("host" or "host:port") in private networks that URLs may lead to.

    Raises:
        ImageError: A block names an image that is not allowed or not usable.
        ImageStoreError: The folder of the store cannot be used.
    """
    resolver = ImageResolver(image_store, allowed_hosts=allowed_hosts)

    def named(block: ImageBlock) -> ContentBlock:
        if image_handle(block) is not None:
            return block
        return handle_block(open_image_block(block, resolver).handle)

    return [map_images(message, named) for message in messages]


def with_inline_images(
    messages: Iterable[AnyMessage], image_store: ImageStoreLike = None
) -> list[ChatMessage]:
    """Return copies of messages with the images themselves instead of handles, for other LLMs.

    Formats that other models refuse (all but PNG, JPEG, WebP and GIF) become PNG.

    Args:
        messages: A conversation, also as dicts.
        image_store: Where handles are looked up; as in `with_handles`.

    Raises:
        ImageError: The store does not hold an image.
        ImageStoreError: The folder of the store cannot be used.
    """
    store = open_store(image_store)

    def inline(block: ImageBlock) -> ContentBlock:
        handle = image_handle(block)
        if handle is None:
            return block
        data, media_type = store.get(handle).portable()
        return ImageBlock(image=data, image_mimetype=media_type)

    return [map_images(message, inline) for message in messages]


def handle_block(handle: str) -> ImageBlock:
    """Return the block that names an image by its handle."""
    return ImageBlock(image=handle.encode(), image_mimetype=HANDLE_TYPE)


def handles_in(message: ChatMessage) -> list[str]:
    """Return the handles of a message's image blocks, in order."""
    handles: list[str] = []

    def collect(block: ImageBlock) -> ContentBlock:
        handle = image_handle(block)
        handles.extend([] if handle is None else [handle])
        return block

    map_images(message, collect)
    return handles


def map_images(message: AnyMessage, convert: Callable[[ImageBlock], ContentBlock]) -> ChatMessage:
    """Return a message with its image blocks converted; the same object if nothing changes."""
    original = message if isinstance(message, ChatMessage) else ChatMessage(**message)
    blocks = _map_blocks(original.blocks, convert)
    if all(old is new for old, new in zip(original.blocks, blocks, strict=True)):
        return original
    return original.model_copy(update={"blocks": blocks})


def _map_blocks(
    blocks: Sequence[Any], convert: Callable[[ImageBlock], ContentBlock]
) -> list[ContentBlock]:
    converted: list[ContentBlock] = []
    for block in blocks:
        if isinstance(block, ImageBlock):
            block = convert(block)
        elif isinstance(block, CitableBlock):
            block = block.model_copy(update={"content": _map_blocks(block.content, convert)})
        converted.append(block)
    return converted
