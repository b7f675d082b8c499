"""LangChain's messages in, the backend interface's messages out.

Every content block becomes text or an image at the place where it stands, or an error that names
it. Thoughts (`thinking`, `reasoning`) are the only blocks that are left out: they are not part of
what was said. Blocks may carry further keys (`cache_control`, `detail`, `annotations`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    ToolMessage,
)

from llava_tools.chat import tool_calls
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Message, Role
from llava_tools.errors import ImageError, RequestError
from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver

Block = Mapping[str, object]
Part = str | ImageRef

#: Types of messages, and the roles that a `ChatMessage` may name.
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "ai": "assistant",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
#: Blocks of text, and the key that holds it.
_TEXTS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "text-plain": "text",
    "refusal": "refusal",
}
_THOUGHTS = ("thinking", "redacted_thinking", "reasoning", "reasoning_content")
_CALLS = ("tool_use", "tool_call", "function_call", "invalid_tool_call")
_IMAGES = ("image", "image_url", "input_image")
_DOCUMENT = "Turn its pages into pictures and send those, or send its text."
_WAYS_OUT = {
    "audio": "Transcribe it and send the text.",
    "input_audio": "Transcribe it and send the text.",
    "video": "Send single frames of it as image blocks.",
    "video_url": "Send single frames of it as image blocks.",
    "file": _DOCUMENT,
    "input_file": _DOCUMENT,
    "document": _DOCUMENT,
    "text-plain": _DOCUMENT,
}


def to_messages(messages: Iterable[BaseMessage], resolver: ImageResolver) -> tuple[Message, ...]:
    """Translate a conversation.

    Raises:
        RequestError: A role or a block that LLaVA cannot be given; the message names it.
        ImageError: An image that is not allowed or not usable.
    """
    return tuple(_message(message, resolver) for message in messages)


def _message(message: BaseMessage, resolver: ImageResolver) -> Message:
    kind = message.role if isinstance(message, ChatMessage) else message.type
    # Chunks are messages too: an "AIMessageChunk" speaks as the "ai".
    kind = re.sub(r"messagechunk$", "", kind.lower())
    if kind not in _ROLES:
        raise RequestError(
            f"{kind!r} is not a role that LLaVA knows.", f"Use one of: {', '.join(_ROLES)}."
        )
    role = _ROLES[kind]
    parts = tuple(_parts(message.content, role, resolver))
    if isinstance(message, FunctionMessage):  # of an interface that had no ids of calls
        lead = tool_calls.write_result(message.name, "", error=False)
        return Message("user", (lead, *parts))
    if isinstance(message, ToolMessage):
        return Message(
            role,
            parts,
            tool_call_id=message.tool_call_id,
            name=message.name or "",
            is_error=message.status == "error",
        )
    return Message(role, parts, tuple(_calls(message)))


def _calls(message: BaseMessage) -> Iterator[ToolCall]:
    """Yield an assistant's calls: `tool_calls`, and those that only its content blocks tell of."""
    if not isinstance(message, AIMessage):
        return
    known = {call["id"] for call in message.tool_calls}
    for call in message.tool_calls:
        yield ToolCall(call["id"] or "", call["name"], call["args"])
    for block in message.content if isinstance(message.content, list) else ():
        if isinstance(block, Mapping) and (told := _call_of(block)) and told.id not in known:
            yield told


def _call_of(block: Block) -> ToolCall | None:
    """Return the call that a block tells of; None if it is none, or cannot be read."""
    if block.get("type") not in _CALLS or not isinstance(name := block.get("name"), str):
        return None
    arguments = _arguments(block)
    identity = next(_given(block, "call_id", "id"), "")
    return ToolCall(str(identity), name, arguments) if isinstance(arguments, Mapping) else None


def _arguments(block: Block) -> object:
    arguments = next(_given(block, "input", "args", "arguments"), {})
    if isinstance(arguments, str):
        with suppress(ValueError):
            return json.loads(arguments)
    return arguments


def image_of(block: Block, resolver: ImageResolver) -> ImageRef | None:
    """Return the image of an image block; None if the block is none.

    Raises:
        ImageError: It is not allowed, unknown, or not a usable image.
    """
    if block.get("type") not in _IMAGES:
        return None
    handle = _handle(block)
    return resolver.open_block(_source(block)) if handle is None else resolver.get(handle)


def _parts(content: object, role: Role, resolver: ImageResolver) -> Iterator[Part]:
    """Translate content but for calls, which are told of elsewhere."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        yield from _block(content, role, resolver)
    elif isinstance(content, Sequence) and not isinstance(content, bytes):
        for item in content:
            yield from _parts(item, role, resolver)
    else:
        raise RequestError(
            f"The content of a {role} message holds a {type(content).__name__}.",
            "Use strings and content blocks.",
        )


def _block(block: Block, role: Role, resolver: ImageResolver) -> Iterator[Part]:
    named = block.get("type")
    kind = named if isinstance(named, str) else "text" if "text" in block else ""
    if kind in _TEXTS and isinstance(text := block.get(_TEXTS[kind]), str):
        yield text
    elif (image := image_of(block, resolver)) is not None:
        yield image
    elif kind in _CALLS:
        if _call_of(block) is None:  # shown as the model wrote it
            attempt = {"name": block.get("name"), "arguments": _arguments(block)}
            yield json.dumps(attempt, ensure_ascii=False, default=str)
    elif kind == "tool_result":
        yield from _parts(block.get("content") or "", role, resolver)
    elif kind in _WAYS_OUT:
        raise RequestError(
            f"The {role} message has a {kind!r} block, and LLaVA takes text and pictures only.",
            _WAYS_OUT[kind],
        )
    elif kind not in _THOUGHTS:
        name = f"of type {kind!r}" if kind and kind not in _TEXTS else "without text"
        raise RequestError(
            f"The {role} message has a block {name} (keys: {_keys(block)}), which LLaVA cannot "
            "be given.",
            "Use blocks of type 'text', 'image' or 'image_url'.",
        )


def _handle(block: Block) -> str | None:
    """Return the handle by which an image block names an image that is known already."""
    for holder in (block.get("source"), block.get("image_url"), block):
        if isinstance(holder, Mapping):
            handle = next(_given(holder, "file_id"), None)
            if handle is None and holder.get("source_type") == "id":
                handle = holder.get("id")
            if handle is not None:
                return str(handle)
    return None


def _source(block: Block) -> str | bytes:
    """Return what an image block of any of the known forms names.

    OpenAI: `image_url` (a dict with `url`, or a string). LangChain v1: `base64` or `url`.
    LangChain v0: `source_type` with `data` or `url`. Anthropic: all in `source`.
    """
    inner = next(_given(block, "source", "image_url"), None)
    if isinstance(inner, Mapping):
        return _source_of(inner, block)
    return _source_of(block, block)


def _source_of(holder: Block, block: Block) -> str | bytes:
    url = next(_given(holder, "url", "image_url"), None)
    if isinstance(url, str):
        return url
    data = next(_given(holder, "base64", "data"), None)
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        media_type = next(_given(holder, "mime_type", "media_type"), "")
        return data if data[:5].lower() == "data:" else f"data:{media_type};base64,{data}"
    raise ImageError(
        f"An image block holds no picture (keys: {_keys(block)}).",
        "Give it 'url' or 'base64', or use {'type': 'image_url', 'image_url': {'url': …}}.",
    )


def _given(block: Block, *keys: str) -> Iterator[object]:
    """Yield the values of those keys that hold something."""
    return (block[key] for key in keys if block.get(key))


def _keys(block: Block) -> str:
    return ", ".join(repr(key) for key in block)
