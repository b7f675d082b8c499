"""Image blocks of messages: making them, reading every layout of them, replacing them by handles.

A block with a handle (`img_…`) carries no bytes, so that checkpoints and traces stay small:

    agent.invoke({"messages": [HumanMessage([image_block("street.jpg"), "What is it?"])]})

Handles are looked up in the image store of this process, which keeps the latest images up to its
bound. Another process has to pass the images to `image_block` again, which makes the same handles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_llava.errors import translated_errors
from llava_tools.errors import ImageError
from llava_tools.images import ImageRef, ImageSource
from llava_tools.images.access import ImageResolver

Block = Mapping[str, object]

_IMAGE_TYPES = ("image", "image_url", "input_image")


def image_block(source: ImageSource) -> dict[str, Any]:
    """Return a content block that names an image by its handle.

    Args:
        source: A path, URL, bytes, a PIL image or an `ImageRef`, from the developer's own code.

    Raises:
        ImageError: The image is not usable.
    """
    with translated_errors():
        return _handle_block(ImageResolver().add(source))


def with_handles(
    messages: Iterable[BaseMessage], resolver: ImageResolver | None = None
) -> list[BaseMessage]:
    """Return copies of messages with handles instead of inline images.

    Args:
        messages: A conversation.
        resolver: Which images it may name; by default data and http(s) URLs of public hosts.

    Raises:
        ImageError: A block names an image that is not allowed or not usable.
    """
    resolver = resolver or ImageResolver()
    with translated_errors():
        return [_with_handles(message, resolver) for message in messages]


def open_image_block(block: Block, resolver: ImageResolver) -> ImageRef | None:
    """Return the image of an image block; None for a block of another type.

    Raises:
        ImageError: The image is not allowed, unknown, or not usable.
    """
    if block.get("type") not in _IMAGE_TYPES:
        return None
    handle = _handle(block)
    return resolver.open_block(_source(block)) if handle is None else resolver.get(handle)


def first_value(block: Block, *keys: str) -> Any:
    """Return the value of the first of these keys that has a non-empty value, else None."""
    return next((block[key] for key in keys if block.get(key)), None)


def quoted_keys(block: Block) -> str:
    """Return a block's keys for an error message."""
    return ", ".join(repr(key) for key in block)


def _with_handles(message: BaseMessage, resolver: ImageResolver) -> BaseMessage:
    if isinstance(message.content, str):
        return message
    content: list[Any] = []
    for block in message.content:
        image = open_image_block(block, resolver) if isinstance(block, Mapping) else None
        content.append(block if image is None else _handle_block(image.handle))
    return message.model_copy(update={"content": content})


def _handle_block(handle: str) -> dict[str, Any]:
    return {"type": "image", "file_id": handle}


def _handle(block: Block) -> str | None:
    """Return the handle in an image block, if it holds one."""
    for holder in (block.get("source"), block.get("image_url"), block):
        if isinstance(holder, Mapping):
            handle = first_value(holder, "file_id")
            if handle is None and holder.get("source_type") == "id":
                handle = holder.get("id")
            if handle is not None:
                return str(handle)
    return None


def _source(block: Block) -> str | bytes:
    """Return the URL or the bytes in an image block.

    OpenAI: `image_url` (a dict with `url`, or a string). LangChain v1: `base64` or `url`.
    LangChain v0: `source_type` with `data` or `url`. Anthropic: all in `source`.
    """
    inner = first_value(block, "source", "image_url")
    holder = inner if isinstance(inner, Mapping) else block
    url = first_value(holder, "url", "image_url")
    if isinstance(url, str):
        return url
    data = first_value(holder, "base64", "data")
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        media_type = first_value(holder, "mime_type", "media_type") or ""
        return data if data[:5].lower() == "data:" else f"data:{media_type};base64,{data}"
    raise ImageError(
        f"An image block holds no image (keys: {quoted_keys(block)}).",
        "Give it 'url' or 'base64', or use {'type': 'image_url', 'image_url': {'url': …}}.",
    )
