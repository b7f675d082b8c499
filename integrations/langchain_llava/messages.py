"""LangChain's messages in, the seam's messages out.

Every content block becomes text or a picture at the place where it stands, or an error that names
it. Thoughts (`thinking`, `reasoning`) are the only blocks that are left out: they are not part of
what was said. Blocks may carry further keys (`cache_control`, `detail`, `annotations`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage

from llava_tools.errors import ImageError, RequestError
from llava_tools.fetch import Fetcher
from llava_tools.images import ImageRef, open_image
from llava_tools.types import Message, Role

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
_PICTURES = ("image", "image_url", "input_image")
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


@dataclass(frozen=True)
class Pictures:
    """Which pictures messages may name, and how they are opened.

    Content of messages may have been written by a model or have come over a network, so local
    paths are refused unless the developer allows them.
    """

    allow_local_paths: bool = False
    fetcher: Fetcher = field(default_factory=Fetcher)

    def open(self, source: str | bytes) -> ImageRef:
        """Open a URL, a data URL, encoded bytes or, where allowed, a local path.

        Raises:
            ImageError: It is not allowed, or not a usable picture.
        """
        if isinstance(source, str) and not self.allow_local_paths:
            named = re.match(r"(https?|data):", source, re.IGNORECASE)
            if not named:
                raise ImageError(
                    f"An image block names {_shown(source)}, which would be a local path, and "
                    "messages may not name those, since a model or a stranger may have written "
                    "them.",
                    "Send an http(s) or data: URL or base64, or set allow_local_paths=True where "
                    "all messages are your own.",
                )
        return open_image(source, allow_paths=self.allow_local_paths, fetcher=self.fetcher)


def to_messages(messages: Iterable[BaseMessage], pictures: Pictures) -> tuple[Message, ...]:
    """Translate a conversation.

    Raises:
        RequestError: A role or a block that LLaVA cannot be given; the message names it.
        ImageError: A picture that is not allowed or not usable.
    """
    return tuple(_message(message, pictures) for message in messages)


def _message(message: BaseMessage, pictures: Pictures) -> Message:
    kind = message.role if isinstance(message, ChatMessage) else message.type
    # Chunks are messages too: an "AIMessageChunk" speaks as the "ai".
    kind = re.sub(r"messagechunk$", "", kind.lower())
    if kind not in _ROLES:
        raise RequestError(
            f"{kind!r} is not a role that LLaVA knows.", f"Use one of: {', '.join(_ROLES)}."
        )
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    told = [call["id"] for call in calls if call["id"]]
    parts = list(_parts(message.content, _ROLES[kind], told, pictures))
    for call in calls:
        parts.append(("\n" if parts else "") + _call(call["name"], call["args"]))
    return Message(_ROLES[kind], tuple(parts))


def _parts(content: object, role: Role, told: list[str], pictures: Pictures) -> Iterator[Part]:
    """Translate content; calls whose ids are in `told` are told elsewhere."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        yield from _block(content, role, told, pictures)
    elif isinstance(content, Sequence) and not isinstance(content, bytes):
        for item in content:
            yield from _parts(item, role, told, pictures)
    else:
        raise RequestError(
            f"The content of a {role} message holds a {type(content).__name__}.",
            "Use strings and content blocks.",
        )


def _block(block: Block, role: Role, told: list[str], pictures: Pictures) -> Iterator[Part]:
    named = block.get("type")
    kind = named if isinstance(named, str) else "text" if "text" in block else ""
    if kind in _TEXTS and isinstance(text := block.get(_TEXTS[kind]), str):
        yield text
    elif kind in _PICTURES:
        yield pictures.open(_source(block))
    elif kind in _CALLS:
        if block.get("id") not in told and block.get("call_id") not in told:
            yield _call(block.get("name"), next(_given(block, "input", "args", "arguments"), {}))
    elif kind == "tool_result":
        yield from _parts(block.get("content") or "", role, told, pictures)
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


def _source(block: Block) -> str | bytes:
    """Return what an image block of any of the known forms names.

    OpenAI: `image_url` (a dict with `url`, or a string). LangChain v1: `base64`, `url` or
    `file_id`. LangChain v0: `source_type` with `data`, `url` or `id`. Anthropic: all in `source`.
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
    handle = next(_given(holder, "file_id", "id"), None)
    if handle is not None and ("file_id" in holder or holder.get("source_type") == "id"):
        raise ImageError(
            f"An image block names the file_id {_shown(str(handle))}, and this version keeps no "
            "files to look it up in.",
            "Send the picture itself: base64, a data: URL or an http(s) URL.",
        )
    raise ImageError(
        f"An image block holds no picture (keys: {_keys(block)}).",
        "Give it 'url' or 'base64', or use {'type': 'image_url', 'image_url': {'url': …}}.",
    )


def _given(block: Block, *keys: str) -> Iterator[object]:
    """Yield the values of those keys that hold something."""
    return (block[key] for key in keys if block.get(key))


def _call(name: object, arguments: object) -> str:
    """Return a call as the text that the assistant is shown to have said."""
    if isinstance(arguments, str):
        with suppress(ValueError):  # a call that was not valid is shown as it was
            arguments = json.loads(arguments)
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False, default=str)


def _keys(block: Block) -> str:
    return ", ".join(repr(key) for key in block)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:40]}…{text[-39:]}")
