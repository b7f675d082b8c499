"""LLaVA 1.5's conversation: messages in, pieces of a prompt out, token ids from the pieces.

The text is the official `vicuna_v1` conversation (haotian-liu/LLaVA, llava/conversation.py), not
the chat template of the converted checkpoints, which differs from what the model was trained on.
Structure (images, ends of turns) is made of pieces of their own type and never parsed out of
text, so a user's, a document's or a tool's text that spells `<image>` or `</s>` stays text.
Pure: needs neither torch nor a tokenizer; `token_ids` is given one as a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from llava_tools.chat import image_handles, tool_calls
from llava_tools.core.constraints import FREE, Constraint
from llava_tools.core.requests import DEFAULT_MAX_TOKENS, Message
from llava_tools.errors import ContextOverflowError, RequestError
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
    """What one side says, all of its messages together.

    Attributes:
        role: Who speaks; tools speak as the user.
        text: Words, calls and results as the model reads them.
        images: They stand before the text.
    """

    role: Literal["user", "assistant"]
    text: str
    images: tuple[ImageRef, ...]


class EncodeText(Protocol):
    """Turn text into token ids, reading nothing in it as structure.

    `start` is True where the text opens a separately tokenized piece (the beginning of the prompt
    or what follows an image), False where it follows an end of turn.
    """

    def __call__(self, text: str, *, start: bool) -> list[int]:
        """Return the ids of `text`, without `<s>`."""
        ...


ImageIds = Callable[[ImageRef], Sequence[int]]


def build(
    messages: Sequence[Message], system: str = SYSTEM, constraint: Constraint = FREE
) -> list[Piece]:
    """Return the prompt of a conversation, ready for the assistant's next turn.

    System messages replace `system`, joined by line breaks where there are several; what the model
    has to know of tools and of the answer's form follows it (see `toolcall`). The images of a
    turn stand at its front, each followed by a line break, as in training; their handles are told
    where a tool can be given one. Messages of users and tools that follow each other share a turn.

    Args:
        messages: The conversation; its last message is the user's or a tool's.
        system: The system sentence where the conversation has none of its own.
        constraint: What the answer has to be.

    Returns:
        Texts, images and ends of turns; texts are never empty and never adjacent.

    Raises:
        RequestError: No message, nothing said in the last turn, or the last turn not the user's.
    """
    return pieces_of(*conversation(messages, system, constraint))


def pieces_of(system: str, turns: Sequence[Turn]) -> list[Piece]:
    """Return the prompt of the turns that `conversation` wrote; see `build`."""
    pieces: list[Piece] = [f"{system} "]
    for turn in turns:
        if turn.role == "assistant":
            _extend(pieces, [f"ASSISTANT: {turn.text}", END_OF_TURN])
        else:
            opening = ["USER: "] + [piece for image in turn.images for piece in (image, "\n")]
            _extend(pieces, [*opening, f"{turn.text} "])
    _extend(pieces, ["ASSISTANT:"])
    return pieces


def lesson(messages: Sequence[Message], system: str = SYSTEM) -> list[Piece]:
    """Return a conversation that ends with the assistant's turn, as the model learns it.

    It is the prompt of that turn, the turn, and the end behind it.

    Raises:
        RequestError: As for `build` with all but the last message.
    """
    *asked, answer = messages
    pieces = build(asked, system)
    _extend(pieces, [f" {answer.text}", END_OF_TURN])
    return pieces


def conversation(
    messages: Sequence[Message], system: str = SYSTEM, constraint: Constraint = FREE
) -> tuple[str, list[Turn]]:
    """Return what the system turn says, "" if nothing, and the turns that follow it.

    The turns alternate; the last one is the user's. See `build` for what stands in them, for the
    arguments and the errors.
    """
    told = [message.text for message in messages if message.role == "system"] or [system]
    told.append(tool_calls.instructions(constraint))
    naming = image_handles.wanted(constraint)
    turns = [
        Turn(
            role,
            "\n".join([tool_calls.write_handles(images), *texts] if naming and images else texts),
            tuple(images),
        )
        for role, texts, images in _turns([m for m in messages if m.role != "system"])
    ]
    return "\n".join(text for text in told if text), turns


def _turns(
    messages: Sequence[Message],
) -> list[tuple[Literal["user", "assistant"], list[str], list[ImageRef]]]:
    """Group messages into alternating turns, and refuse what cannot be answered."""
    turns: list[tuple[Literal["user", "assistant"], list[str], list[ImageRef]]] = []
    names: dict[str, str] = {}
    for message in messages:
        role: Literal["user", "assistant"] = "assistant" if message.role == "assistant" else "user"
        if not turns or turns[-1][0] != role:
            turns.append((role, [], []))
        text = message.text
        if message.role == "tool":
            name = message.name or names.get(message.tool_call_id, "") or "tool"
            text = tool_calls.write_result(name, text, error=message.is_error)
        elif message.tool_calls:
            names |= {call.id: call.name for call in message.tool_calls}
            text = tool_calls.write_turn(text, message.tool_calls)
        if text:
            turns[-1][1].append(text)
        turns[-1][2].extend(message.images)
    if not turns:
        raise RequestError("The conversation has no user message.", "Add one with a question.")
    role, texts, images = turns[-1]
    if role == "assistant":
        raise RequestError(
            "The conversation ends with the assistant's message.", "End it with the user's."
        )
    if not images and not any(text.strip() for text in texts):
        raise RequestError("The last user message is empty.", "Ask something, or add a picture.")
    return turns


def check_results(messages: Iterable[Message]) -> None:
    """Refuse a tool's result that answers no call.

    Raises:
        RequestError: A tool message whose `tool_call_id` no earlier assistant message has.
    """
    known: set[str] = set()
    for message in messages:
        known |= {call.id for call in message.tool_calls}
        if message.role == "tool" and message.tool_call_id not in known:
            raise RequestError(
                f"A tool message answers the call {message.tool_call_id!r}, which nobody made.",
                "Put the assistant's message with that call before it.",
            )


def _extend(prompt: list[Piece], pieces: Iterable[Piece]) -> None:
    """Append pieces, joining texts that meet, so that they are tokenized together."""
    for piece in pieces:
        if isinstance(piece, str) and isinstance(prompt[-1], str):
            prompt[-1] += piece
        else:
            prompt.append(piece)


def render(pieces: Iterable[Piece]) -> str:
    """Return the prompt as text, images as `<image>`, ends of turns as `</s>`: for people."""
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
    """Return the prompt's token ids.

    The pieces around an image are tokenized separately, as the official code does
    (llava/mm_utils.py, tokenizer_image_token).

    Args:
        pieces: From `build`.
        encode: Tokenizer for plain text.
        bos: What every prompt begins with; empty or one id.
        end_of_turn: Id of `</s>`.
        image: The ids that stand for an image.
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


def fit(
    prompt_tokens: int, images: int, image_tokens: int, max_tokens: int | None, context_length: int
) -> int:
    """Return how many new tokens the request may have.

    Args:
        prompt_tokens: Tokens of the whole prompt, images included.
        images: How many images it holds.
        image_tokens: What each of them costs.
        max_tokens: What the caller asked for; None for the default or what is left of the context.
        context_length: Tokens that the model can hold.

    Raises:
        ContextOverflowError: It does not fit; the message gives every figure.
    """
    wanted = 1 if max_tokens is None else max_tokens
    if prompt_tokens + wanted > context_length:
        text_tokens = prompt_tokens - images * image_tokens
        raise ContextOverflowError(
            f"The request needs {prompt_tokens + wanted} tokens, but the model's context holds "
            f"{context_length}: {images} picture(s) at {image_tokens} tokens each, {text_tokens} of text, "
            f"{wanted} for the answer.",
            "Send fewer pictures, less text, or a smaller max_tokens.",
        )
    left = context_length - prompt_tokens
    return min(DEFAULT_MAX_TOKENS, left) if max_tokens is None else max_tokens
