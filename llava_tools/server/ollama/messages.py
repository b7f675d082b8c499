"""Messages of `/api/chat`, and their translation to messages of a request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Message, Role
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef
from llava_tools.images.ref import is_handle
from llava_tools.server.bodies import Body, Items
from llava_tools.server.users import User


class CalledFunction(Body):
    """The function that an assistant called."""

    ignored: ClassVar[frozenset[str]] = frozenset({"index", "description"})

    name: str
    arguments: dict[str, Any] | None = None


class MessageCall(Body):
    """A tool call in an assistant's message."""

    ignored: ClassVar[frozenset[str]] = frozenset({"type", "index"})

    id: str | None = None
    function: CalledFunction


class ChatMessage(Body):
    """A message of a conversation; what another model thought is left out."""

    ignored: ClassVar[frozenset[str]] = frozenset({"thinking"})

    role: Role
    content: str | None = None
    images: Items[str] | None = None
    tool_calls: Items[MessageCall] | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    name: str | None = None


def to_messages(messages: Iterable[ChatMessage], user: User) -> tuple[Message, ...]:
    """Return the messages of a request, with their images opened.

    Clients of Ollama send no ids: a tool's result answers the first call without one, of its tool
    if it names that.

    Raises:
        RequestError: An image that cannot be used, or a result without a call.
    """
    translated: list[Message] = []
    open_calls: list[ToolCall] = []
    for message in messages:
        calls = tuple(
            ToolCall(
                call.id or f"call_{len(translated)}_{i}",
                call.function.name,
                call.function.arguments or {},
            )
            for i, call in enumerate(message.tool_calls or ())
        )
        open_calls += calls
        result = _take_call(open_calls, message) if message.role == "tool" else None
        images = open_images(message.images or (), user)
        translated.append(
            Message(
                message.role,
                (*images, message.content or ""),
                calls,
                tool_call_id=result.id if result else "",
                name=result.name if result else "",
            )
        )
    return tuple(translated)


def _take_call(open_calls: list[ToolCall], message: ChatMessage) -> ToolCall:
    """Remove the call that a tool's message answers, and return it."""
    name = message.tool_name or message.name
    for call in open_calls:
        if message.tool_call_id in (None, "", call.id) and name in (None, "", call.name):
            open_calls.remove(call)
            return call
    if name:
        return ToolCall("", name, {})
    raise RequestError(
        "A tool message answers no call.",
        "Put the assistant's message with its tool_calls before it, or set tool_name.",
    )


def open_images(sources: Sequence[str], user: User) -> list[ImageRef]:
    """Return the images of a request, and keep them.

    Args:
        sources: Base64; data URLs, handles of earlier images and, where allowed, links too.
        user: Whose images they are.

    Raises:
        ImageError: One cannot be used.
    """
    return [user.open_image(_address(source)) for source in sources]


def _address(source: str) -> str:
    """Return base64 as a data URL. No character of it is a colon."""
    return source if ":" in source[:100] or is_handle(source) else f"data:;base64,{source}"
