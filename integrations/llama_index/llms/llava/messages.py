"""LlamaIndex's messages in, the backend interface's messages out.

Every block becomes text, an image or a call, or an error that names it. Texts that follow each
other are parted by a line break, as `ChatMessage.content` does. Left out are only thoughts and
cache points, which are no part of what was said, and the sources that citations name.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import IOBase
from pathlib import Path
from typing import BinaryIO, cast

from llama_index.core.base.llms.types import (
    AudioBlock,
    BaseContentBlock,
    CachePoint,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import ImageNode, Node
from pydantic import BaseModel

from llava_tools.chat import tool_calls
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Message, Role
from llava_tools.errors import ImageError, RequestError
from llava_tools.images import ImageRef, ImageSource
from llava_tools.images.access import ImageResolver

#: What names or holds an image in LlamaIndex; a `Node` in its `image_resource`.
Imaged = ImageBlock | ImageNode | Node

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}
_WAYS_OUT: dict[type[BaseContentBlock], str] = {
    AudioBlock: "Transcribe it and send the text.",
    VideoBlock: "Send single frames of it as ImageBlocks.",
    DocumentBlock: "Turn its pages into pictures and send those, or send its text.",
}


def to_messages(messages: Iterable[ChatMessage], resolver: ImageResolver) -> tuple[Message, ...]:
    """Translate a conversation.

    Raises:
        RequestError: A block that LLaVA cannot be given; the message names it.
        ImageError: An image that is not allowed or not usable.
    """
    return tuple(_message(message, resolver) for message in messages)


def to_question(prompt: str, documents: Sequence[Imaged], resolver: ImageResolver) -> Message:
    """Return the message of a completion about images, which the caller hands over himself.

    Raises:
        RequestError: Something else than images was handed over.
        ImageError: An image is not usable.
    """
    for document in documents:
        if not isinstance(document, ImageBlock | ImageNode | Node):
            raise RequestError(
                f"image_documents holds a {type(document).__name__}.",
                "Use ImageDocuments, ImageNodes or ImageBlocks.",
            )
    return Message(
        "user", (*(resolver.open_block(_source(d), trusted=True) for d in documents), prompt)
    )


def _source(block: Imaged) -> ImageSource:
    """Return what a block or a node holds: its bytes, else its path, else its URL."""
    image, path, url = _named(block)
    if image:
        return _content(image)
    if path is None and url is None:
        raise ImageError("An image block holds no picture.", "Give it an image, a path or a url.")
    return str(url) if path is None else path


def _named(block: Imaged) -> tuple[bytes | IOBase | None, Path | None, object]:
    """Return the bytes, the path and the URL that a block or a node names."""
    if isinstance(block, ImageBlock):
        return block.image, block.path, block.url
    if isinstance(block, Node):
        held = block.image_resource
        return (held.data, held.path, held.url) if held else (None, None, None)
    url = block.image_url
    path = block.image_path or (block.metadata.get("file_path") if url is None else None)
    image = block.image.encode() if block.image else None
    return image, None if path is None else Path(path), url


def _message(message: ChatMessage, resolver: ImageResolver) -> Message:
    role = _ROLES[message.role.value]
    told = message.additional_kwargs
    blocks = list(message.blocks)
    calls = [_call(block) for block in blocks if isinstance(block, ToolCallBlock)]
    if not calls and told.get("tool_calls"):
        calls = [_older_call(call) for call in told["tool_calls"]]
    parts = tuple(_parts(blocks, role, resolver))
    if role != "tool":
        return Message(role, parts, tuple(calls))
    name, tool_call_id = str(told.get("name") or ""), str(told.get("tool_call_id") or "")
    if not tool_call_id:  # as ReAct agents and older function calls tell of results
        return Message("user", (tool_calls.write_result(name or "tool", "", error=False), *parts))
    return Message(role, parts, tuple(calls), tool_call_id, name)


def _parts(
    blocks: Iterable[BaseContentBlock], role: Role, resolver: ImageResolver
) -> Iterator[str | ImageRef]:
    after_text = False
    for block in blocks:
        if isinstance(block, TextBlock):
            yield f"\n{block.text}" if after_text else block.text
            after_text = True
        elif isinstance(block, ImageBlock):
            yield resolver.open_block(_source(block))
            after_text = False
        elif isinstance(block, CitableBlock | CitationBlock):
            yield from _parts(block.nested_blocks, role, resolver)
        elif not isinstance(block, ThinkingBlock | CachePoint | ToolCallBlock):
            raise RequestError(
                f"The {role} message has a {type(block).__name__}, and LLaVA takes text and "
                "pictures only.",
                _WAYS_OUT.get(type(block), "Use TextBlocks and ImageBlocks."),
            )


def _call(block: ToolCallBlock) -> ToolCall:
    told = block.tool_kwargs
    arguments = _object(told, block.tool_name) if isinstance(told, str) else told
    return ToolCall(block.tool_call_id or "", block.tool_name, arguments)


def _older_call(call: object) -> ToolCall:
    """Translate a call out of `additional_kwargs`, where they stood before there were blocks."""
    told = call.model_dump() if isinstance(call, BaseModel) else call
    function = told.get("function") if isinstance(told, Mapping) else None
    if not isinstance(function, Mapping):
        raise RequestError(
            f"additional_kwargs['tool_calls'] holds a {type(call).__name__} that is no call.",
            "Put a ToolCallBlock into the message's blocks.",
        )
    return _call(
        ToolCallBlock(
            tool_call_id=cast(Mapping[str, str], told).get("id"),
            tool_name=function["name"],
            tool_kwargs=function.get("arguments") or {},
        )
    )


def _object(text: str, tool: str) -> Mapping[str, object]:
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise RequestError(
            f"A call of {tool} has arguments that are no JSON object: {text[:80]!r}.",
            "Leave the call out, or mend its tool_kwargs.",
        )
    return arguments


def _content(image: bytes | IOBase) -> ImageSource:
    """Return what is read of a block's `image`: a file, or bytes that are usually base64."""
    if isinstance(image, IOBase):
        if image.seekable():
            image.seek(0)
        return cast(BinaryIO, image)
    try:
        return base64.b64decode(image, validate=True)
    except binascii.Error:
        return image
