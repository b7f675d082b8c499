"""Converts LlamaIndex's messages into the backend's messages.

Each block becomes text, an image or a tool call; other blocks raise an error that names them.
Adjacent texts are joined by a line break, as `ChatMessage.content` does. Dropped are thoughts,
cache points and the sources that citations name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from llama_index.core.base.llms.types import (
    AudioBlock,
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

from llama_index.llms.llava.images import ImageInput, image_handle, image_source, open_image_block
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Message, Role
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver

#: Images of a completion; None for none.
ImageInputs = Sequence[ImageInput] | None

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
_HINTS: dict[type[BaseModel], str] = {
    AudioBlock: "Transcribe it and send the text.",
    VideoBlock: "Send single frames of it as ImageBlocks.",
    DocumentBlock: "Turn its pages into images and send those, or send its text.",
}


def to_messages(messages: Iterable[ChatMessage], resolver: ImageResolver) -> tuple[Message, ...]:
    """Convert a conversation.

    Raises:
        RequestError: A block that LLaVA cannot read; the error names it.
        ImageError: An image that is not allowed or not usable.
    """
    return tuple(_message(message, resolver) for message in messages)


def to_question(prompt: str, images: ImageInputs, resolver: ImageResolver) -> Message:
    """Return the user message of a completion, whose images may be local files.

    Only the fields for paths may name them: what metadata and URLs hold may come from a document.

    Raises:
        RequestError: An item of `images` that is no image.
        ImageError: An image is not usable.
    """
    if isinstance(images, ImageBlock | ImageNode | Node):
        raise RequestError("image_documents is one image.", "Give a list, even of one.")
    sources = []
    for image in images or ():
        if not isinstance(image, ImageBlock | ImageNode | Node):
            raise RequestError(
                f"image_documents holds a {type(image).__name__}.",
                "Use ImageDocuments, ImageNodes or ImageBlocks.",
            )
        handle = image_handle(image)
        sources.append(image_source(image) if handle is None else resolver.get(handle))
    opened = [resolver.open_block(item, trusted=isinstance(item, Path)) for item in sources]
    return Message("user", (*opened, prompt))


def _message(message: ChatMessage, resolver: ImageResolver) -> Message:
    role = _ROLES[message.role.value]
    kwargs = message.additional_kwargs
    calls = [_call(block) for block in message.blocks if isinstance(block, ToolCallBlock)]
    if not calls and kwargs.get("tool_calls"):
        calls = [_openai_call(call) for call in kwargs["tool_calls"]]
    content = tuple(_content(message.blocks, role, resolver))
    if role != "tool":
        return Message(role, content, tuple(calls))
    name, tool_call_id = str(kwargs.get("name") or ""), str(kwargs.get("tool_call_id") or "")
    if not tool_call_id:  # results of ReAct agents and of older function calls have no id
        name = name or "tool"
    return Message(role, content, tuple(calls), tool_call_id, name)


def _content(
    blocks: Iterable[BaseModel], role: Role, resolver: ImageResolver
) -> Iterator[str | ImageRef]:
    after_text = False
    for block in blocks:
        if isinstance(block, TextBlock):
            yield f"\n{block.text}" if after_text else block.text
            after_text = True
        elif isinstance(block, ImageBlock):
            yield open_image_block(block, resolver)
            after_text = False
        elif isinstance(block, CitableBlock):
            yield from _content(block.content, role, resolver)
        elif isinstance(block, CitationBlock):
            yield from _content([block.cited_content], role, resolver)
        elif not isinstance(block, ThinkingBlock | CachePoint | ToolCallBlock):
            raise RequestError(
                f"The {role} message has a block of type {type(block).__name__}, and LLaVA takes "
                "text and images only.",
                _HINTS.get(type(block), "Use TextBlocks and ImageBlocks."),
            )


def _call(block: ToolCallBlock) -> ToolCall:
    arguments = block.tool_kwargs
    if isinstance(arguments, str):
        arguments = _parse_arguments(arguments, block.tool_name)
    return ToolCall(block.tool_call_id or "", block.tool_name, arguments)


def _openai_call(call: object) -> ToolCall:
    """Convert a call from `additional_kwargs`, where older versions of LlamaIndex put calls."""
    fields = call.model_dump() if isinstance(call, BaseModel) else call
    function = fields.get("function") if isinstance(fields, Mapping) else None
    if not isinstance(function, Mapping):
        raise RequestError(
            f"additional_kwargs['tool_calls'] holds a {type(call).__name__} that is no call.",
            "Put a ToolCallBlock into the message's blocks.",
        )
    return _call(
        ToolCallBlock(
            tool_call_id=cast(Mapping[str, str], fields).get("id"),
            tool_name=function["name"],
            tool_kwargs=function.get("arguments") or {},
        )
    )


def _parse_arguments(text: str, tool: str) -> dict[str, object]:
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise RequestError(
            f"A call of {tool} has arguments that are no JSON object: {text[:80]!r}.",
            "Leave the call out, or correct its tool_kwargs.",
        )
    return arguments
