"""Image blocks of messages: making them, reading every layout of them, putting handles for bytes.

A block with a handle (`img_…`) carries no bytes, so that checkpoints and traces stay small:

    agent.invoke({"messages": [HumanMessage([image_block("street.jpg"), "What is it?"])]})

Handles are looked up in an image store, by default that of the process. Another process needs the
same images in its store: one with a directory (`image_store="folder"`, or the environment variable
LLAVA_IMAGE_STORE for all), or the images once more through `image_block`, with the same handles.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from langchain_core.messages import BaseMessage

from langchain_llava.errors import translated_errors
from llava_tools.errors import ImageError, RequestError
from llava_tools.images import ImageRef, ImageSource
from llava_tools.images.access import ImageResolver
from llava_tools.images.ref import is_handle
from llava_tools.images.store import ImageStoreLike, open_store

Block = Mapping[str, object]
#: A message in any of LangChain's forms: an object, a dict, a pair of role and content, a string.
AnyMessage = TypeVar("AnyMessage", bound=BaseMessage | Mapping[str, Any] | tuple[str, Any] | str)

_IMAGE_TYPES = ("image", "image_url", "input_image")


def image_block(source: ImageSource, image_store: ImageStoreLike = None) -> dict[str, Any]:
    """Return a content block that names an image by its handle.

    Args:
        source: A path, URL, bytes, a PIL image or an `ImageRef`, from the developer's own code.
        image_store: Keeps the image: an `ImageStore` or the folder of one; by default the store of
            the process.

    Raises:
        ImageError: The image is not usable.
        ImageStoreError: The folder of the store cannot be used.
    """
    with translated_errors():
        return handle_block(ImageResolver(image_store).add(source))


def with_handles(
    messages: Iterable[AnyMessage],
    image_store: ImageStoreLike = None,
    *,
    allowed_hosts: Iterable[str] = (),
) -> list[AnyMessage]:
    """Return copies of messages with handles instead of inline images.

    Args:
        messages: A conversation, also as dicts. Its images may be base64 or data URLs and
            http(s) URLs, never local files.
        image_store: Keeps the images: an `ImageStore` or the folder of one; by default the store
            of the process.
        allowed_hosts: Hosts ("host" or "host:port") in private networks that URLs may lead to.

    Raises:
        RequestError: `messages` is one message, a text or a state.
        ImageError: A block names an image that is not allowed or not usable.
        ImageStoreError: The folder of the store cannot be used.
    """
    with translated_errors():
        _check_messages(messages)
        resolver = ImageResolver(image_store, allowed_hosts=allowed_hosts)
        return [
            map_blocks(message, lambda block: to_handle(block, resolver)) for message in messages
        ]


def with_inline_images(
    messages: Iterable[AnyMessage], image_store: ImageStoreLike = None
) -> list[AnyMessage]:
    """Return copies of messages with the images themselves instead of handles, for other models.

    The blocks are LangChain's standard ones with base64, which chat models of all providers and
    `convert_to_openai_messages` take. Formats that providers refuse (all but PNG, JPEG, WebP and
    GIF) become PNG.

    Args:
        messages: A conversation, also as dicts.
        image_store: Where handles are looked up; as in `with_handles`.

    Raises:
        RequestError: `messages` is one message, a text or a state.
        ImageError: The store does not hold an image.
        ImageStoreError: The folder of the store cannot be used.
    """
    with translated_errors():
        _check_messages(messages)
        store = open_store(image_store)

        def inline(block: Block) -> Block:
            handle = block_handle(block)
            return block if handle is None else _inline_block(store.get(handle))

        return [map_blocks(message, inline) for message in messages]


def _check_messages(messages: object) -> None:
    # A BaseMessage can be iterated too: it yields its fields.
    if isinstance(messages, str | Mapping | BaseMessage) or not isinstance(messages, Iterable):
        raise RequestError(
            f"messages is a {type(messages).__name__}.",
            'Pass a list of messages, such as state["messages"].',
        )


def map_blocks(message: AnyMessage, convert: Callable[[Block], Block]) -> AnyMessage:
    """Return a message with its image blocks converted, also those inside of tool results.

    It is the same object if nothing changes.
    """
    if isinstance(message, BaseMessage):
        content = _map_content(message.content, convert)
        unchanged = content is message.content
        return message if unchanged else message.model_copy(update={"content": content})
    changed: Any = message
    if isinstance(message, Mapping):
        key = "data" if isinstance(message.get("data"), Mapping) else "content"
        if key == "data":
            changed = {**message, "data": map_blocks(message["data"], convert)}
        elif key in message:
            changed = {**message, "content": _map_content(message["content"], convert)}
    elif not isinstance(message, str):
        changed = (message[0], *(_map_content(item, convert) for item in message[1:]))
    return cast(AnyMessage, changed)


def to_handle(block: Block, resolver: ImageResolver) -> Block:
    """Return a block that names the image of an image block by its handle, and keep the image.

    Raises:
        ImageError: The image is not allowed, or not usable.
    """
    if _handle(block) is not None:
        return block
    image = open_image_block(block, resolver)
    return block if image is None else handle_block(image.handle)


def handle_block(handle: str) -> dict[str, Any]:
    """Return the block that names an image by its handle."""
    return {"type": "image", "file_id": handle}


def block_handle(block: Block) -> str | None:
    """Return the handle in an image block; None for other blocks, and ids of other providers."""
    handle = _handle(block) if block.get("type") in _IMAGE_TYPES else None
    return handle if is_handle(handle) else None


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


def _map_content(content: Any, convert: Callable[[Block], Block]) -> Any:
    if not isinstance(content, list):
        return content
    converted = [_map_block(block, convert) for block in content]
    same = all(old is new for old, new in zip(content, converted, strict=True))
    return content if same else converted


def _map_block(block: Any, convert: Callable[[Block], Block]) -> Any:
    if not isinstance(block, Mapping):
        return block
    if block.get("type") in _IMAGE_TYPES:
        return convert(block)
    if block.get("type") == "tool_result":
        content = _map_content(block.get("content"), convert)
        return block if content is block.get("content") else {**block, "content": content}
    return block


def _inline_block(image: ImageRef) -> dict[str, Any]:
    data, media_type = image.portable()
    return {"type": "image", "base64": base64.b64encode(data).decode(), "mime_type": media_type}


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
