"""From LangChain's messages to the messages of a request.

Each content block becomes a text or an image at the same place, or raises an error that names it.
Reasoning blocks (`thinking`, `reasoning`) and cache points are left out, and so is what only
another provider can read in its own assistant's messages, such as the calls of tools that its
server runs. Further keys of a block (`cache_control`, `detail`, `annotations`) are ignored.
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
    "guard_content": "text",
    "refusal": "refusal",
}
_REASONING_TYPES = ("thinking", "redacted_thinking", "reasoning", "reasoning_content")
_CALL_TYPES = ("tool_use", "tool_call", "function_call", "invalid_tool_call")
#: Types of blocks whose content is a list of blocks again.
_NESTING_TYPES = ("tool_result", "search_result")
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
    converted: list[Message] = []
    invalid_calls: dict[str, str] = {}  # names of the tools by the ids of calls
    for message in messages:
        if isinstance(message, AIMessage):
            calls = message.invalid_tool_calls
            invalid_calls |= {call["id"] or "": call["name"] or "" for call in calls}
        converted.append(_message(message, resolver, invalid_calls))
    return tuple(converted)


def _message(
    message: BaseMessage, resolver: ImageResolver, invalid_calls: Mapping[str, str]
) -> Message:
    name = message.role if isinstance(message, ChatMessage) else message.type
    name = name.lower().removesuffix("messagechunk")  # the type of a chunk: "AIMessageChunk"
    if name not in _ROLES:
        raise RequestError(
            f"{name!r} is not a role that LLaVA knows.", f"Use one of: {', '.join(_ROLES)}."
        )
    role = _ROLES[name]
    parts = tuple(_parts(message.content, role, resolver))
    if isinstance(message, FunctionMessage):
        return Message(role, parts, name=message.name)
    if isinstance(message, ToolMessage):
        call_id, tool = message.tool_call_id, message.name or ""
        if call_id in invalid_calls:  # the call became text, so there is none with this id
            call_id, tool = "", tool or invalid_calls[call_id] or "tool"
        is_error = message.status == "error"
        return Message(role, parts, tool_call_id=call_id, name=tool, is_error=is_error)
    if isinstance(message, AIMessage):
        return Message(role, (*parts, *_invalid_calls(message)), tuple(_calls(message)))
    return Message(role, parts)


def _invalid_calls(message: AIMessage) -> Iterator[str]:
    """Yield the invalid calls of an assistant that its content blocks lack."""
    blocks = message.content if isinstance(message.content, list) else ()
    ids = {first_value(block, "call_id", "id") for block in blocks if isinstance(block, Mapping)}
    for call in message.invalid_tool_calls:
        if call["id"] is None or call["id"] not in ids:
            yield _write_invalid_call(call)


def _calls(message: AIMessage) -> Iterator[ToolCall]:
    """Yield an assistant's tool calls, first from `tool_calls`, then from content blocks."""
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


def _write_invalid_call(block: Block) -> str:
    """Return what the model wrote, as text that it sees again."""
    return tool_calls.write_json({"name": block.get("name"), "arguments": _arguments(block)})


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
        if _parse_call(block) is None:
            yield _write_invalid_call(block)
    elif block_type in _NESTING_TYPES:
        yield from _parts(block.get("content") or "", role, resolver)
    elif block_type == "json":
        yield tool_calls.write_json(block.get("json"))
    elif block_type in _UNSUPPORTED_TYPES:
        raise RequestError(
            f"The {role} message has a {block_type!r} block, and LLaVA takes text and images only.",
            _UNSUPPORTED_TYPES[block_type],
        )
    elif not _is_left_out(block, block_type, role):
        other = block_type and block_type not in _TEXT_KEYS
        reason = f"of type {block_type!r}" if other else "without text"
        raise RequestError(
            f"The {role} message has a block {reason} (keys: {quoted_keys(block)}), which LLaVA "
            "does not take.",
            "Use blocks of type 'text', 'image' or 'image_url'.",
        )


def _is_left_out(block: Block, block_type: str, role: Role) -> bool:
    if block_type in _REASONING_TYPES or block.keys() == {"cachePoint"}:
        return True
    # By another provider: server_tool_use, web_search_call, citation, ...
    return role == "assistant" and block_type not in ("", *_TEXT_KEYS)
