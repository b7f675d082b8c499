"""From LangChain's messages to the messages of a request.

Each content block becomes a text or an image at the same place, or raises an error that names it.
Only reasoning blocks (`thinking`, `reasoning`) are left out: they are no part of the answer.
Further keys of a block (`cache_control`, `detail`, `annotations`) are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    ToolMessage,
)

from langchain_llava.image_blocks import Block, first_value, open_image_block, quoted_keys
from llava_tools.chat import tool_calls
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Message, Role
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver

Part = str | ImageRef

#: From types of messages, and the roles that a `ChatMessage` may name, to roles of a request.
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
#: From types of text blocks to the key of their text.
_TEXT_KEYS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "text-plain": "text",
    "refusal": "refusal",
}
_REASONING_TYPES = ("thinking", "redacted_thinking", "reasoning", "reasoning_content")
_CALL_TYPES = ("tool_use", "tool_call", "function_call", "invalid_tool_call")
_DOCUMENT_HINT = "Turn its pages into images and send those, or send its text."
#: From types of blocks that LLaVA cannot read to what to send instead.
_UNSUPPORTED_TYPES = {
    "audio": "Transcribe it and send the text.",
    "input_audio": "Transcribe it and send the text.",
    "video": "Send single frames of it as image blocks.",
    "video_url": "Send single frames of it as image blocks.",
    "file": _DOCUMENT_HINT,
    "input_file": _DOCUMENT_HINT,
    "document": _DOCUMENT_HINT,
    "text-plain": _DOCUMENT_HINT,
}


def to_messages(messages: Iterable[BaseMessage], resolver: ImageResolver) -> tuple[Message, ...]:
    """Convert a conversation.

    Raises:
        RequestError: An unsupported role or block; the error names it.
        ImageError: An image is not allowed or not usable.
    """
    return tuple(_message(message, resolver) for message in messages)


def _message(message: BaseMessage, resolver: ImageResolver) -> Message:
    name = message.role if isinstance(message, ChatMessage) else message.type
    name = name.lower().removesuffix("messagechunk")  # the type of a chunk: "AIMessageChunk"
    if name not in _ROLES:
        raise RequestError(
            f"{name!r} is not a role that LLaVA knows.", f"Use one of: {', '.join(_ROLES)}."
        )
    role = _ROLES[name]
    parts = tuple(_parts(message.content, role, resolver))
    if isinstance(message, FunctionMessage):  # has no id of a call
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
    """Yield an assistant's tool calls, first from `tool_calls`, then from content blocks."""
    if not isinstance(message, AIMessage):
        return
    ids = {call["id"] for call in message.tool_calls}
    for call in message.tool_calls:
        yield ToolCall(call["id"] or "", call["name"], call["args"])
    for block in message.content if isinstance(message.content, list) else ():
        if isinstance(block, Mapping) and (parsed := _parse_call(block)) and parsed.id not in ids:
            yield parsed


def _parse_call(block: Block) -> ToolCall | None:
    """Return the tool call in a block; None for other blocks and for invalid arguments."""
    if block.get("type") not in _CALL_TYPES or not isinstance(name := block.get("name"), str):
        return None
    arguments = _arguments(block)
    call_id = str(first_value(block, "call_id", "id") or "")
    return ToolCall(call_id, name, arguments) if isinstance(arguments, Mapping) else None


def _arguments(block: Block) -> object:
    arguments = first_value(block, "input", "args", "arguments") or {}
    if isinstance(arguments, str):
        with suppress(ValueError):
            return json.loads(arguments)
    return arguments


def _parts(content: object, role: Role, resolver: ImageResolver) -> Iterator[Part]:
    """Yield the texts and images of a message's content; `_calls` yields its tool calls."""
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
    block_type = block.get("type")
    if not isinstance(block_type, str):
        block_type = "text" if "text" in block else ""
    text_key = _TEXT_KEYS.get(block_type)
    if text_key is not None and isinstance(text := block.get(text_key), str):
        yield text
    elif (image := open_image_block(block, resolver)) is not None:
        yield image
    elif block_type in _CALL_TYPES:
        if _parse_call(block) is None:  # the model sees what it wrote
            attempt = {"name": block.get("name"), "arguments": _arguments(block)}
            yield json.dumps(attempt, ensure_ascii=False, default=str)
    elif block_type == "tool_result":
        yield from _parts(block.get("content") or "", role, resolver)
    elif block_type in _UNSUPPORTED_TYPES:
        raise RequestError(
            f"The {role} message has a {block_type!r} block, and LLaVA takes text and images only.",
            _UNSUPPORTED_TYPES[block_type],
        )
    elif block_type not in _REASONING_TYPES:
        other = block_type and block_type not in _TEXT_KEYS
        reason = f"of type {block_type!r}" if other else "without text"
        raise RequestError(
            f"The {role} message has a block {reason} (keys: {quoted_keys(block)}), which LLaVA "
            "does not take.",
            "Use blocks of type 'text', 'image' or 'image_url'.",
        )
