"""The input items of responses, and their translation to messages of a request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Message, Role
from llava_tools.images import ImageRef
from llava_tools.server.bodies import Body, Items
from llava_tools.server.errors import InvalidFieldError
from llava_tools.server.openai.messages import RefusalBlock, to_call
from llava_tools.server.users import User

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


class InputText(Body):
    """A text of the input, or of an earlier answer."""

    ignored: ClassVar[frozenset[str]] = frozenset({"annotations", "logprobs"})

    type: Literal["input_text", "output_text"]
    text: str


class InputImage(Body):
    """An image: a data URL, the handle of an earlier image, or where allowed a link."""

    ignored: ClassVar[frozenset[str]] = frozenset({"detail"})

    type: Literal["input_image"]
    image_url: str | None = None
    file_id: str | None = None


Part = Annotated[InputText | InputImage | RefusalBlock, Field(discriminator="type")]


class InputMessage(Body):
    """A message, or an earlier answer."""

    ignored: ClassVar[frozenset[str]] = frozenset({"id", "status", "phase"})

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Items[Part]


class InputCall(Body):
    """A tool call of an earlier answer."""

    ignored: ClassVar[frozenset[str]] = frozenset({"id", "status", "parsed_arguments", "caller"})

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str


class InputResult(Body):
    """The result of a tool call."""

    ignored: ClassVar[frozenset[str]] = frozenset({"id", "status"})

    type: Literal["function_call_output"]
    call_id: str
    output: str | Items[Part]


class InputReasoning(Body):
    """Reasoning of another model, which is left out."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {"id", "status", "summary", "content", "encrypted_content"}
    )

    type: Literal["reasoning"]


def _item_type(value: Any) -> Any:
    """Return the type of an item; a message may have none."""
    if isinstance(value, dict):
        return value.get("type") or "message"
    return getattr(value, "type", None)


Item = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[InputCall, Tag("function_call")]
    | Annotated[InputResult, Tag("function_call_output")]
    | Annotated[InputReasoning, Tag("reasoning")],
    Discriminator(_item_type),
]


def to_messages(items: Iterable[Item], user: User) -> tuple[Message, ...]:
    """Return the messages of a request, with their images opened.

    Adjacent texts and calls of the assistant become one message, as they were one answer.

    Raises:
        ImageError: An image is not allowed or not usable.
        RequestError: The arguments of a call are no JSON object, or an image is a file's id.
    """
    messages: list[Message] = []
    for index, item in enumerate(items):
        for message in _messages(item, f"input.{index}", user):
            if message.role == "assistant" and messages and messages[-1].role == "assistant":
                message = _joined(messages.pop(), message)
            messages.append(message)
    return tuple(messages)


def _messages(item: Item, path: str, user: User) -> Iterable[Message]:
    match item:
        case InputMessage():
            yield Message(_ROLES[item.role], _content(item.content, path, user))
        case InputCall():
            call = to_call(item.call_id, item.name, item.arguments, f"{path}.arguments")
            yield Message("assistant", (), (call,))
        case InputResult():
            content = _content(item.output, path, user)
            yield Message("tool", content, tool_call_id=item.call_id)


def _joined(first: Message, second: Message) -> Message:
    calls: tuple[ToolCall, ...] = (*first.tool_calls, *second.tool_calls)
    return Message("assistant", (*first.content, *second.content), calls)


def _content(
    content: str | Sequence[InputText | InputImage | RefusalBlock], path: str, user: User
) -> tuple[str | ImageRef, ...]:
    if isinstance(content, str):
        return (content,)
    return tuple(_part(part, path, user) for part in content)


def _part(part: InputText | InputImage | RefusalBlock, path: str, user: User) -> str | ImageRef:
    match part:
        case InputText():
            return part.text
        case RefusalBlock():
            return part.refusal
        case InputImage(image_url=str(url)):
            return user.open_image(url)
        case InputImage():
            raise InvalidFieldError(
                f"{path} has an image without image_url; this server keeps no files.",
                "Send the image as a data: URL.",
                path,
            )
