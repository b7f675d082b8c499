"""The messages of chat completions, and their translation to messages of a request."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Message, Role
from llava_tools.images import ImageRef
from llava_tools.images.loading import restore_image
from llava_tools.server.bodies import Body, Items
from llava_tools.server.errors import InvalidFieldError
from llava_tools.server.users import User


class TextBlock(Body):
    """A text in a message."""

    ignored: ClassVar[frozenset[str]] = frozenset({"annotations", "cache_control"})

    type: Literal["text"]
    text: str


class RefusalBlock(Body):
    """A refusal of an earlier answer; read as text."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(Body):
    """An image: a data URL, the handle of an earlier image, or where allowed a link.

    `handle` is the image's handle at the client, where pixels may have no file.
    """

    ignored: ClassVar[frozenset[str]] = frozenset({"detail", "format"})

    url: str
    handle: str | None = None


class ImageBlock(Body):
    """An image in a message; its URL may stand without an object around it."""

    ignored: ClassVar[frozenset[str]] = frozenset({"cache_control", "detail", "uuid"})

    type: Literal["image_url"]
    image_url: ImageUrl | str

    def open(self, user: User) -> ImageRef:
        """Return the image; see `User.open_image` for errors."""
        if isinstance(self.image_url, str):
            return user.open_image(self.image_url)
        image, handle = user.open_image(self.image_url.url), self.image_url.handle
        if handle in (None, image.handle):
            return image
        return user.resolver.get(user.resolver.add(restore_image(image.data, handle)))


UserBlock = Annotated[TextBlock | ImageBlock, Field(discriminator="type")]
AssistantBlock = Annotated[TextBlock | RefusalBlock, Field(discriminator="type")]


class FunctionCall(Body):
    """The function that an assistant called, and its arguments as JSON."""

    name: str
    arguments: str


class MessageToolCall(Body):
    """A tool call in an assistant's message."""

    ignored: ClassVar[frozenset[str]] = frozenset({"index", "extra_content"})

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class _Message(Body):
    ignored: ClassVar[frozenset[str]] = frozenset({"name", "cache_control"})


class SystemMessage(_Message):
    """The developer's instructions."""

    role: Literal["system", "developer"]
    content: str | Items[TextBlock]


class UserMessage(_Message):
    """The user's texts and images."""

    role: Literal["user"]
    content: str | Items[UserBlock]


class AssistantMessage(_Message):
    """An earlier answer, with its tool calls."""

    ignored: ClassVar[frozenset[str]] = _Message.ignored | {
        "annotations",
        "audio",
        "parsed",
        "reasoning",
        "reasoning_content",
    }

    role: Literal["assistant"]
    content: str | Items[AssistantBlock] | None = None
    refusal: str | None = None
    tool_calls: Items[MessageToolCall] | None = None
    function_call: FunctionCall | None = None


class ToolMessage(Body):
    """The result of a tool call: text, and images that the model then sees."""

    ignored: ClassVar[frozenset[str]] = frozenset({"cache_control"})

    role: Literal["tool"]
    content: str | Items[UserBlock]
    tool_call_id: str
    name: str | None = None
    is_error: bool = False


class FunctionMessage(Body):
    """The result of a function call in OpenAI's older form."""

    role: Literal["function"]
    content: str | None = None
    name: str


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage,
    Field(discriminator="role"),
]
Block = TextBlock | RefusalBlock | ImageBlock


def to_messages(messages: Iterable[ChatMessage], user: User) -> tuple[Message, ...]:
    """Return the messages of a request, with their images opened.

    Raises:
        ImageError: An image is not allowed or not usable.
        RequestError: The arguments of a tool call are no JSON object, or an image is where LLaVA
            takes none.
    """
    return tuple(_message(message, index, user) for index, message in enumerate(messages))


def _message(message: ChatMessage, index: int, user: User) -> Message:
    role: Role
    content = to_content(message.content, user)
    match message:
        case AssistantMessage():
            refusal = (message.refusal,) if message.refusal else ()
            calls = tuple(_calls(message, f"messages.{index}"))
            return Message("assistant", (*content, *refusal), calls)
        case ToolMessage():
            return Message(
                "tool",
                content,
                tool_call_id=message.tool_call_id,
                name=message.name or "",
                is_error=message.is_error,
            )
        case FunctionMessage():
            return Message("tool", content, name=message.name)
        case SystemMessage():
            role = "system"
        case UserMessage():
            role = "user"
    return Message(role, content)


def to_content(content: str | Sequence[Block] | None, user: User) -> tuple[str | ImageRef, ...]:
    """Return the texts and images of a message's content."""
    if content is None:
        return ()
    if isinstance(content, str):
        return (content,)
    return tuple(_part(block, user) for block in content)


def _part(block: Block, user: User) -> str | ImageRef:
    match block:
        case TextBlock():
            return block.text
        case RefusalBlock():
            return block.refusal
        case ImageBlock():
            return block.open(user)


def _calls(message: AssistantMessage, path: str) -> Iterable[ToolCall]:
    for index, call in enumerate(message.tool_calls or ()):
        param = f"{path}.tool_calls.{index}.function.arguments"
        yield to_call(call.id, call.function.name, call.function.arguments, param)
    if (function := message.function_call) is not None:
        yield to_call("", function.name, function.arguments, f"{path}.function_call.arguments")


def to_call(call_id: str, name: str, arguments: str, param: str) -> ToolCall:
    """Return a tool call from its arguments as JSON; none are an empty object.

    Raises:
        InvalidFieldError: They are no JSON object; `param` is the path of the field.
    """
    parsed: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        parsed = json.loads(arguments) if arguments.strip() else {}
    if not isinstance(parsed, dict):
        raise InvalidFieldError(
            f"{param} = {arguments!r:.80} is no JSON object.",
            "Send the arguments of the call as the model wrote them.",
            param,
        )
    return ToolCall(call_id, name, parsed)
