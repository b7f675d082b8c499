"""LLaVA 1.5's prompt: messages become turns, pieces, and token ids.

The text is the official `vicuna_v1` conversation (haotian-liu/LLaVA, llava/conversation.py), not
the chat template of the converted checkpoints, which differs from the training data.
Structure (images, ends of turns) has its own piece types and is never parsed out of text: if a
user, a document or a tool writes `<image>` or `</s>`, it stays text.
Needs neither torch nor a tokenizer: `token_ids` takes the tokenizer as a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, Protocol

from llava_tools.chat import image_handles, tool_calls
from llava_tools.core.constraints import UNCONSTRAINED, Constraint
from llava_tools.core.requests import Message
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef

#: The system sentence that LLaVA 1.5 was trained with.
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


@dataclass(frozen=True)
class EndOfTurn:
    """The `</s>` after an assistant's turn, as structure."""


END_OF_TURN = EndOfTurn()

Piece = str | ImageRef | EndOfTurn


@dataclass(frozen=True)
class Turn:
    """Adjacent messages of one side.

    Attributes:
        role: Whose turn it is; results of tools count as the user's.
        text: Text, calls and results as the model reads them.
        images: The images, which precede the text.
    """

    role: Literal["user", "assistant"]
    text: str
    images: tuple[ImageRef, ...]


class EncodeText(Protocol):
    """Tokenizes text; special tokens in it are encoded as text."""

    def __call__(self, text: str, *, start: bool) -> list[int]:
        """Return the ids of `text`, without `<s>`.

        Args:
            text: The text.
            start: True at the start of the prompt and after an image, False after an end of turn.
        """


ImageIds = Callable[[ImageRef], Sequence[int]]


def build(
    messages: Sequence[Message], system: str = SYSTEM, constraint: Constraint = UNCONSTRAINED
) -> list[Piece]:
    """Return the prompt of a conversation, up to the assistant's next turn.

    Adjacent messages of users and tools share a turn. The images of a turn come first, each
    followed by a line break, as in training. Their handles follow if a tool takes an image.

    Args:
        messages: The conversation; its last message is the user's or a tool's.
        system: The system sentence. System messages replace it, joined by line breaks. The
            description of tools and of the answer's form follows it; see `tool_calls`.
        constraint: The form of the answer.

    Returns:
        Texts, images and ends of turns; texts are never empty and never adjacent.

    Raises:
        RequestError: There is no message, the last turn is empty, or it is the assistant's.
    """
    return join_turns(*write_turns(messages, system, constraint))


def training_example(messages: Sequence[Message], system: str = SYSTEM) -> list[Piece]:
    """Return a conversation that ends with the assistant's message: its prompt, then that message.

    Raises:
        RequestError: See `build`, for the messages before the last.
    """
    *previous, answer = messages
    pieces = build(previous, system)
    _extend(pieces, [f" {answer.text}", END_OF_TURN])
    return pieces


def write_turns(
    messages: Sequence[Message], system: str = SYSTEM, constraint: Constraint = UNCONSTRAINED
) -> tuple[str, list[Turn]]:
    """Return the text of the system turn, "" for none, and the alternating turns after it.

    See `build` for arguments and errors.
    """
    system_texts = [message.text for message in messages if message.role == "system"] or [system]
    system_texts.append(tool_calls.instructions(constraint))
    lists_handles = image_handles.takes_images(constraint)
    turns: list[Turn] = []
    call_names: dict[str, str] = {}
    conversation = (message for message in messages if message.role != "system")
    for is_answer, group in groupby(conversation, lambda message: message.role == "assistant"):
        texts: list[str] = []
        images: list[ImageRef] = []
        for message in group:
            call_names |= {call.id: call.name for call in message.tool_calls}
            texts.append(_write_message(message, call_names))
            images.extend(message.images)
        if lists_handles and images:
            texts.insert(0, tool_calls.write_handles(images))
        text = "\n".join(text for text in texts if text)
        turns.append(Turn("assistant" if is_answer else "user", text, tuple(images)))
    if not turns:
        raise RequestError("The conversation has no user message.", "Add one with a question.")
    if turns[-1].role == "assistant":
        raise RequestError(
            "The conversation ends with the assistant's message.", "End it with the user's."
        )
    if not turns[-1].images and not turns[-1].text.strip():
        raise RequestError("The last user message is empty.", "Add a question or an image.")
    return "\n".join(text for text in system_texts if text), turns


def _write_message(message: Message, call_names: dict[str, str]) -> str:
    if message.role == "tool":
        name = message.name or call_names.get(message.tool_call_id, "") or "tool"
        return tool_calls.write_result(name, message.text, error=message.is_error)
    return tool_calls.write_turn(message.text, message.tool_calls)


def join_turns(system: str, turns: Iterable[Turn]) -> list[Piece]:
    """Return the prompt of the turns that `write_turns` wrote; see `build`."""
    pieces: list[Piece] = [f"{system} "]
    for turn in turns:
        if turn.role == "assistant":
            _extend(pieces, [f"ASSISTANT: {turn.text}", END_OF_TURN])
        else:
            images = [piece for image in turn.images for piece in (image, "\n")]
            _extend(pieces, ["USER: ", *images, f"{turn.text} "])
    _extend(pieces, ["ASSISTANT:"])
    return pieces


def check_tool_results(messages: Iterable[Message]) -> None:
    """Check that every result of a tool answers a call.

    Raises:
        RequestError: A tool message has a `tool_call_id` that no earlier message has.
    """
    call_ids: set[str] = set()
    for message in messages:
        call_ids |= {call.id for call in message.tool_calls}
        if message.role == "tool" and message.tool_call_id not in call_ids:
            raise RequestError(
                f"A tool message answers the call {message.tool_call_id!r}, which no earlier "
                "message has.",
                "Put the assistant's message with that call before it.",
            )


def _extend(prompt: list[Piece], pieces: Iterable[Piece]) -> None:
    """Append pieces; adjacent texts are joined, so that they are tokenized together."""
    for piece in pieces:
        if isinstance(piece, str) and isinstance(prompt[-1], str):
            prompt[-1] += piece
        else:
            prompt.append(piece)


def render(pieces: Iterable[Piece]) -> str:
    """Return the prompt as text for display, with `<image>` and `</s>` for structure."""
    marks = {EndOfTurn: "</s>", ImageRef: "<image>"}
    return "".join(p if isinstance(p, str) else marks[type(p)] for p in pieces)


def token_ids(
    pieces: Sequence[Piece],
    encode: EncodeText,
    *,
    bos: Sequence[int],
    end_of_turn: int,
    image: ImageIds,
) -> list[int]:
    """Return the token ids of a prompt.

    The texts around an image are tokenized separately, as in the official code
    (llava/mm_utils.py, tokenizer_image_token). `bos` starts the prompt; it is empty or one id.
    """
    ids = list(bos)
    after_end = False
    for piece in pieces:
        if isinstance(piece, str):
            ids.extend(encode(piece, start=not after_end))
        elif isinstance(piece, ImageRef):
            ids.extend(image(piece))
        else:
            ids.append(end_of_turn)
        after_end = isinstance(piece, EndOfTurn)
    return ids
