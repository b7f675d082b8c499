"""Images in conversations by their handles, so that checkpoints and traces stay small.

An image is given once; every message that names it from then on carries `img_…` and no bytes:

    question = HumanMessage([image_block("street.jpg"), "What colour is the car?"])
    agent.invoke({"messages": [question]})

Handles lead to images as long as this process runs and has room for them
(`llava_tools.registry.shared`); a checkpoint that is opened by another process needs its images
given to `image_block` again, which makes the same handles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_llava.errors import as_langchain
from langchain_llava.messages import image_of
from llava_tools.images import ImageSource, open_image
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import shared_store


def image_block(source: ImageSource) -> dict[str, Any]:
    """Return a content block that names an image by its handle.

    Args:
        source: A path, URL, bytes, a PIL image or an `ImageRef`; from the developer's own code.

    Raises:
        ImageError: It is not a usable image.
    """
    with as_langchain():
        image = open_image(source)
    return {"type": "image", "file_id": shared_store().add(image)}


def with_handles(
    messages: Iterable[BaseMessage], resolver: ImageResolver | None = None
) -> list[BaseMessage]:
    """Return messages whose inline images are replaced by handles; the given ones stay as is.

    Args:
        messages: A conversation.
        resolver: Which images it may name; by default data and http(s) URLs of public hosts.

    Raises:
        ImageError: A block names an image that is not allowed or not usable.
    """
    resolver = resolver or ImageResolver()
    with as_langchain():
        return [_with_handles(message, resolver) for message in messages]


def _with_handles(message: BaseMessage, resolver: ImageResolver) -> BaseMessage:
    if isinstance(message.content, str):
        return message
    content: list[Any] = []
    for block in message.content:
        image = image_of(block, resolver) if isinstance(block, Mapping) else None
        if image is None:
            content.append(block)
        else:
            content.append({"type": "image", "file_id": image.handle})
    return message.model_copy(update={"content": content})
