"""Conversation formats as data: what a model was trained to read around messages.

A row writes a conversation as texts and special tokens. Special tokens are values of their own type
and are never parsed out of text, so that no message can spell one. `prompt` turns messages into
pieces by a row; the engine, fine-tuning, scoring and the chat template for servers use the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

#: Names of the supported formats, the values of the option `conversation`.
ConversationName = Literal["vicuna_v1", "chatml", "llama3", "phi3", "joycaption"]

#: The system sentence that LLaVA 1.5 was trained with.
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


@dataclass(frozen=True)
class SpecialToken:
    """A token of the vocabulary that text cannot spell, by its content."""

    text: str


#: The tokenizer's own end of a sequence, whatever its vocabulary calls it.
EOS = SpecialToken("</s>")

Marker = str | SpecialToken


@dataclass(frozen=True)
class Markers:
    """What stands before and after the text of a turn."""

    before: tuple[Marker, ...] = ()
    after: tuple[Marker, ...] = ()


@dataclass(frozen=True)
class ConversationFormat:
    """How a family of models writes conversations.

    Attributes:
        name: The value of the option `conversation`.
        system: Default text of the system turn; "" for no such turn.
        system_turn: Markers of the system turn.
        user_turn: Markers of a user's turn. Images stand at its beginning.
        assistant_turn: Markers of the assistant's turn. Those before it also end a prompt; the
            first one after it is the special token that ends an answer.
        answer_prefix: What the model generates before the text of its answer.
        image: Markers of each image.
        image_token: The vocabulary's placeholder of an image.
        keeps_empty_system: Whether the markers of the system turn stand there without a text too.
        space_after_special: Whether SentencePiece's space precedes a text after a special token.
            LLaVA's official tokenizer puts none there; that of `tokenizer.json` does.
        other_stops: Further special tokens that end an answer, if the vocabulary has them.
        source: Where the format was read.
    """

    name: ConversationName
    system: str
    system_turn: Markers
    user_turn: Markers
    assistant_turn: Markers
    answer_prefix: str = ""
    image: Markers = Markers(after=("\n",))
    image_token: str = "<image>"
    keeps_empty_system: bool = False
    space_after_special: bool = False
    other_stops: tuple[SpecialToken, ...] = ()
    source: str = field(default="", compare=False)

    @property
    def end_of_turn(self) -> SpecialToken:
        """The special token that ends an answer."""
        end = self.assistant_turn.after[0]
        assert isinstance(end, SpecialToken)
        return end

    @property
    def special_tokens(self) -> tuple[SpecialToken, ...]:
        """The special tokens that the vocabulary must have, each once."""
        turns = (self.system_turn, self.user_turn, self.assistant_turn, self.image)
        markers = [marker for turn in turns for marker in (*turn.before, *turn.after)]
        return tuple(dict.fromkeys(m for m in markers if isinstance(m, SpecialToken)))


VICUNA_V1 = ConversationFormat(
    name="vicuna_v1",
    system=SYSTEM,
    system_turn=Markers(after=(" ",)),
    user_turn=Markers(("USER: ",), (" ",)),
    assistant_turn=Markers(("ASSISTANT:",), (EOS,)),
    answer_prefix=" ",
    keeps_empty_system=True,
    source="haotian-liu/LLaVA, llava/conversation.py, conv_vicuna_v1",
)

_IM_START, _IM_END = SpecialToken("<|im_start|>"), SpecialToken("<|im_end|>")

CHATML = ConversationFormat(
    name="chatml",
    system="You are a helpful assistant.",
    system_turn=Markers((_IM_START, "system\n"), (_IM_END, "\n")),
    user_turn=Markers((_IM_START, "user\n"), (_IM_END, "\n")),
    assistant_turn=Markers((_IM_START, "assistant\n"), (_IM_END, "\n")),
    other_stops=(SpecialToken("<|endoftext|>"),),
    source="LLaVA-VL/LLaVA-NeXT, llava/conversation.py, conv_qwen",
)

_HEADER, _END_HEADER = SpecialToken("<|start_header_id|>"), SpecialToken("<|end_header_id|>")
_EOT = SpecialToken("<|eot_id|>")

LLAMA3 = ConversationFormat(
    name="llama3",
    system="",
    system_turn=Markers((_HEADER, "system", _END_HEADER, "\n\n"), (_EOT,)),
    user_turn=Markers((_HEADER, "user", _END_HEADER, "\n\n"), (_EOT,)),
    assistant_turn=Markers((_HEADER, "assistant", _END_HEADER, "\n\n"), (_EOT,)),
    other_stops=(SpecialToken("<|end_of_text|>"), SpecialToken("<|eom_id|>")),
    source="InternLM/xtuner, xtuner/utils/templates.py, llama3_chat",
)

_END = SpecialToken("<|end|>")

PHI3 = ConversationFormat(
    name="phi3",
    system="",
    system_turn=Markers((SpecialToken("<|system|>"), "\n"), (_END, "\n")),
    user_turn=Markers((SpecialToken("<|user|>"), "\n"), (_END, "\n")),
    assistant_turn=Markers((SpecialToken("<|assistant|>"), "\n"), (_END, "\n")),
    space_after_special=True,
    other_stops=(SpecialToken("<|endoftext|>"),),
    source="InternLM/xtuner, xtuner/utils/templates.py, phi3_chat",
)

#: Llama 3.1's conversation, whose system turn begins with two dates, and images between two tokens.
JOYCAPTION = replace(
    LLAMA3,
    name="joycaption",
    system="You are a helpful image captioner.",
    system_turn=Markers(
        (
            *LLAMA3.system_turn.before,
            "Cutting Knowledge Date: December 2023\nToday Date: 26 July 2024\n\n",
        ),
        (_EOT,),
    ),
    image=Markers(
        (SpecialToken("<|reserved_special_token_70|>"),),
        (SpecialToken("<|reserved_special_token_71|>"),),
    ),
    image_token="<|reserved_special_token_69|>",
    keeps_empty_system=True,
    source="fpgaminer/joycaption, README.md and finetuning/train.py",
)

#: The supported formats by name.
FORMATS: Mapping[ConversationName, ConversationFormat] = MappingProxyType(
    {row.name: row for row in (VICUNA_V1, CHATML, LLAMA3, PHI3, JOYCAPTION)}
)
