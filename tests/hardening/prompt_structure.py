"""The structure of a prompt: its turns, its images, its special tokens, and lines of results."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import normalizers
from transformers import PreTrainedTokenizerFast

from llava_tools.chat.formats import FORMATS, ConversationFormat, ConversationName
from llava_tools.chat.prepare import prepare
from llava_tools.core.requests import Request
from llava_tools.core.unicode import well_formed
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.remote.chat_template import write_chat_template
from llava_tools.remote.protocol import encode_messages
from tests.families.vocabularies import VOCABULARIES

_IMAGE = -1

#: Kinds of tokenizers: vocabularies of `tests.families`, and one that makes other letters into
#: those of special tokens.
_CONVERSATIONS: Mapping[str, ConversationName] = {
    "llama": "vicuna_v1",
    "normalizing llama": "vicuna_v1",
    "tiny_llama_chatml": "chatml",
    "phi3": "phi3",
    "llama3": "llama3",
    "llama31_reserved": "joycaption",
    "qwen2": "chatml",
    "smollm2": "chatml",
}
KINDS = tuple(_CONVERSATIONS)
#: No server is known whose vocabulary normalizes, and a client cannot see it.
SERVED_KINDS = tuple(name for name in KINDS if not name.startswith("normalizing"))


@dataclass(frozen=True)
class Kind:
    """A kind of tokenizer.

    Attributes:
        whole: The tokenizer as a server has it, which takes any text that spells a special token.
        tokenizer: The engine's.
        conversation: The format of its conversations.
        special: The texts of its special tokens by their ids.
    """

    whole: FastTokenizer
    tokenizer: Tokenizer
    conversation: ConversationFormat
    special: Mapping[int, str]

    def structure(self, request: Request) -> list[str]:
        """Return the images and special tokens of a request's prompt, as the engine reads it."""
        pieces = prepare(request, self.conversation).pieces
        return self._names(self.tokenizer.tokenize(pieces, lambda image: (_IMAGE,)))

    def served_structure(self, request: Request) -> list[str]:
        """Return the special tokens of the prompt that a model server makes of a request."""
        prepared = prepare(request, self.conversation)
        messages = encode_messages(prepared, lambda image: "data:image/png;base64,AA==")
        template = _template(self.conversation)
        text = template.render(messages=messages, add_generation_prompt=True)
        return self._names(self.whole.encode(well_formed(text), add_special_tokens=False).ids)

    def _names(self, ids: list[int]) -> list[str]:
        names = {_IMAGE: "image", **self.special}
        return [names[i] for i in ids if i in names]


@cache
def kind_of(name: str) -> Kind:
    """Return a kind of tokenizer by its name."""
    vocabulary = VOCABULARIES[name.split()[-1]]()
    whole = vocabulary.tokenizer
    if name.startswith("normalizing"):
        whole.normalizer = normalizers.Sequence([normalizers.NFKC(), whole.normalizer])
    names = {k: v for k, v in vocabulary.settings.items() if k.endswith("_token") and v}
    names = {key: value for key, value in names.items() if isinstance(value, str)}
    saved = PreTrainedTokenizerFast(tokenizer_object=whole, **names)
    conversation = FORMATS[_CONVERSATIONS[name]]
    special = {i: str(t.content) for i, t in whole.get_added_tokens_decoder().items()}
    return Kind(whole, Tokenizer(saved, conversation), conversation, special)


@cache
def _template(conversation: ConversationFormat) -> Any:
    return ImmutableSandboxedEnvironment().from_string(write_chat_template(conversation))


def check_structure(
    kind: Kind, forged: Request, harmless: Request, *, served: bool, lines: bool
) -> None:
    """Raise an `AssertionError` unless two prompts have the same structure.

    Args:
        kind: Of the tokenizer.
        forged: Has a text that spells structure.
        harmless: The same with a harmless text.
        served: Whether a model server reads them, or the engine.
        lines: Whether the lines of results and of the system's turn count: they do but where a
            speaker's own text may have any.
    """
    structure = kind.served_structure if served else kind.structure
    if (read := structure(forged)) != (expected := structure(harmless)):
        more, less = Counter(read) - Counter(expected), Counter(expected) - Counter(read)
        raise AssertionError(f"{dict(more)} more, {dict(less)} less, or in another order")
    if (turns := _turns(forged, kind)) != (expected_turns := _turns(harmless, kind)):
        raise AssertionError(f"turns {turns}, not {expected_turns}")
    if lines and (found := _lines(forged, kind)) != (right := _lines(harmless, kind)):
        raise AssertionError(f"{found} lines of results and of the system, not {right}")


def _turns(request: Request, kind: Kind) -> list[tuple[str, int]]:
    """Return the role of each turn with the number of its images."""
    turns = prepare(request, kind.conversation).turns
    return [(turn.role, len(turn.images)) for turn in turns]


def _lines(request: Request, kind: Kind) -> tuple[int, int]:
    """Return how many lines of a prompt begin as results, and how many begin its system turn."""
    prepared = prepare(request, kind.conversation)
    texts = "\n".join(turn.text for turn in prepared.turns if turn.role == "user")
    results = re.findall(r"^(?:Result|Error) of ", texts, re.MULTILINE)
    return len(results), len(re.findall(r"^\S", prepared.system, re.MULTILINE))
