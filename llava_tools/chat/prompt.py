"""The prompt: messages become turns, pieces, and token ids.

The text is that of a conversation format (`formats`), by default LLaVA 1.5's official `vicuna_v1`
(haotian-liu/LLaVA, llava/conversation.py), not the chat template of the converted checkpoints,
which differs from the training data. Structure (images, special tokens) has its own piece types and
is never parsed out of text: if a user, a document or a tool writes `<image>` or `</s>`, it stays
text. Needs neither torch nor a tokenizer: `token_ids` takes the tokenizer as a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, Protocol

from llava_tools.chat import image_handles, tool_calls
from llava_tools.chat.formats import VICUNA_V1, ConversationFormat, Marker, SpecialToken
from llava_tools.core.constraints import UNCONSTRAINED, Constraint
from llava_tools.core.requests import Message
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef

Piece = str | ImageRef | SpecialToken

#: The user's turn after an assistant's message that ends a conversation, such as another agent's.
#: Models were trained on alternating turns.
CONTINUE = "Please continue."


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
        """Return the ids of `text`, without a first `<s>`.

        Args:
            text: The text.
            start: True at the start of the prompt and after an image, False after a special token.
        """


ImageIds = Callable[[ImageRef], Sequence[int]]
SpecialIds = Callable[[SpecialToken], int]


def build(
    messages: Sequence[Message],
    constraint: Constraint = UNCONSTRAINED,
    conversation: ConversationFormat = VICUNA_V1,
) -> list[Piece]:
    """Return the prompt of a conversation, up to the assistant's next turn.

    Adjacent messages of users and tools share a turn. The images of a turn come first, in
    `vicuna_v1` each followed by a line break, as in training. Their handles follow if a tool takes
    an image.

    Args:
        messages: The conversation. If its last message is the assistant's, the user's turn
            `CONTINUE` follows it; an empty last message of the assistant is left out. System
            messages replace the format's system sentence, joined by line breaks. The description
            of tools and of the answer's form follows it; see `tool_calls`.
        constraint: The form of the answer.
        conversation: The model's conversation format.

    Returns:
        Texts, images and special tokens; texts are never empty and never adjacent.

    Raises:
        RequestError: There is no message, or the last turn is empty.
    """
    return join_turns(*write_turns(messages, constraint, conversation), conversation)


def training_example(
    messages: Sequence[Message], conversation: ConversationFormat = VICUNA_V1
) -> list[Piece]:
    """Return a conversation that ends with the assistant's message: its prompt, then that message.

    Raises:
        RequestError: See `build`, for the messages before the last.
    """
    *previous, answer = messages
    pieces = build(previous, conversation=conversation)
    _extend(pieces, (conversation.answer_prefix + answer.text, conversation.end_of_turn))
    return pieces


def write_turns(
    messages: Sequence[Message],
    constraint: Constraint = UNCONSTRAINED,
    conversation: ConversationFormat = VICUNA_V1,
) -> tuple[str, list[Turn]]:
    """Return the text of the system turn, "" for none, and the alternating turns after it.

    See `build` for arguments and errors.
    """
    system_texts = [message.text for message in messages if message.role == "system"]
    system_texts = system_texts or [conversation.system]
    system_texts.append(tool_calls.instructions(constraint))
    lists_handles = image_handles.takes_images(constraint)
    turns: list[Turn] = []
    call_names: dict[str, str] = {}
    spoken = (message for message in messages if message.role != "system")
    for is_answer, group in groupby(spoken, lambda message: message.role == "assistant"):
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
    if turns and turns[-1].role == "assistant":
        turns[-1:] = [turns[-1], Turn("user", CONTINUE, ())] if turns[-1].text else []
    if not turns:
        raise RequestError("The conversation has no user message.", "Add one with a question.")
    if not turns[-1].images and not turns[-1].text.strip():
        raise RequestError("The last user message is empty.", "Add a question or an image.")
    return "\n".join(text for text in system_texts if text), turns


def _write_message(message: Message, call_names: dict[str, str]) -> str:
    if message.role == "tool":
        name = message.name or call_names.get(message.tool_call_id, "") or "tool"
        return tool_calls.write_result(name, message.text, error=message.is_error)
    return tool_calls.write_turn(message.text, message.tool_calls)


def join_turns(
    system: str, turns: Iterable[Turn], conversation: ConversationFormat = VICUNA_V1
) -> list[Piece]:
    """Return the prompt of the turns that `write_turns` wrote; see `build`."""
    pieces: list[Piece] = []
    if system or conversation.keeps_empty_system:
        markers = conversation.system_turn
        _extend(pieces, (*markers.before, system, *markers.after))
    for turn in turns:
        if turn.role == "assistant":
            markers, text = conversation.assistant_turn, conversation.answer_prefix + turn.text
            _extend(pieces, (*markers.before, text, *markers.after))
        else:
            markers = conversation.user_turn
            _extend(pieces, markers.before)
            for image in turn.images:
                _extend(pieces, (*conversation.image.before, image, *conversation.image.after))
            _extend(pieces, (turn.text, *markers.after))
    _extend(pieces, conversation.assistant_turn.before)
    return pieces


def check_tool_results(messages: Iterable[Message]) -> None:
    """Check that every result of a tool answers a call; one that names a tool needs no id.

    Raises:
        RequestError: A tool message has a `tool_call_id` that no earlier message has.
    """
    call_ids: set[str] = set()
    for message in messages:
        call_ids |= {call.id for call in message.tool_calls}
        answers_call = message.tool_call_id or not message.name
        if message.role == "tool" and answers_call and message.tool_call_id not in call_ids:
            raise RequestError(
                f"A tool message answers the call {message.tool_call_id!r}, which no earlier "
                "message has.",
                "Put the assistant's message with that call before it.",
            )


def _extend(prompt: list[Piece], pieces: Iterable[Piece | Marker]) -> None:
    """Append pieces; adjacent texts are joined, so that they are tokenized together."""
    for piece in pieces:
        if isinstance(piece, str) and prompt and isinstance(prompt[-1], str):
            prompt[-1] += piece
        elif piece != "":
            prompt.append(piece)


def render(pieces: Iterable[Piece]) -> str:
    """Return the prompt as text for display: special tokens by their names, images as `<image>`."""

    def show(piece: Piece) -> str:
        if isinstance(piece, SpecialToken):
            return piece.text
        return piece if isinstance(piece, str) else "<image>"

    return "".join(map(show, pieces))


def token_ids(
    pieces: Sequence[Piece],
    encode: EncodeText,
    *,
    bos: Sequence[int],
    special: SpecialIds,
    image: ImageIds,
) -> list[int]:
    """Return the token ids of a prompt.

    The texts around an image are tokenized separately, as in the official code
    (llava/mm_utils.py, tokenizer_image_token). `bos` starts the prompt; it is empty or one id.
    """
    ids = list(bos)
    after_special = False
    for piece in pieces:
        if isinstance(piece, str):
            ids.extend(encode(piece, start=not after_special))
        elif isinstance(piece, ImageRef):
            ids.extend(image(piece))
        else:
            ids.append(special(piece))
        after_special = isinstance(piece, SpecialToken)
    return ids
