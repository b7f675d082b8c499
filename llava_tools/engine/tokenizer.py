"""Text to tokens and back. Text that spells a special token never becomes one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from tokenizers import Tokenizer as FastTokenizer

from llava_tools.chat.formats import EOS, VICUNA_V1, ConversationFormat, SpecialToken
from llava_tools.chat.prompt import ImageIds, Piece, token_ids
from llava_tools.core.unicode import well_formed
from llava_tools.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


#: What special tokens take up: Unicode's white space, without the separators that Python adds.
_WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
#: Characters from which on a text is encoded without the interpreter's lock.
_LONG_TEXT = 10_000


class Tokenizer:
    """A checkpoint's tokenizer, used the way LLaVA's official code uses it.

    Args:
        tokenizer: The checkpoint's tokenizer with a `tokenizers` backend.
        conversation: The model's conversation format.

    Attributes:
        tokenizer: The checkpoint's tokenizer.
        conversation: The model's conversation format.
        bos: Ids that every prompt begins with: `<s>` if the tokenizer puts it first, or nothing.
        end_of_turn: Id of the format's end of a turn.
        longest_token: No token stands for more characters of a text.

    Raises:
        ModelError: It has no such backend, no `</s>`, or not the format's special tokens.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, conversation: ConversationFormat = VICUNA_V1
    ) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or tokenizer.eos_token_id is None:
            raise ModelError(
                f"The tokenizer {type(tokenizer).__name__} has no tokenizer.json or no </s>.",
                "Use a checkpoint in the llava-hf layout.",
            )
        self.tokenizer = tokenizer
        self.conversation = conversation
        first = list(tokenizer("a")["input_ids"][:1])  # none for a vocabulary without letters
        self.bos = first if first == [tokenizer.bos_token_id] else []
        self._decoder: Any = backend
        self._added_tokens = backend.get_added_tokens_decoder()
        self._special_tokens = {i: str(token.content) for i, token in self._added_tokens.items()}
        # Without its added tokens the encoder finds none of them in a text that spells one.
        unused = {"post_processor": None, "truncation": None, "padding": None}
        config = json.loads(backend.to_str()) | {"added_tokens": [], **unused}
        config["model"] = _without_pieces(config["model"], set(self._special_tokens.values()))
        self._encoder = FastTokenizer.from_str(json.dumps(config))
        self.longest_token = max(map(len, self._encoder.get_vocab()))
        self._never: set[int] = set()
        self._line_break = self._ids("\n")
        # SentencePiece puts a space before the first word of a text.
        self._adds_space = self._ids("\na")[len(self._line_break) :] != self._ids("a")
        self._ids_of_special = {token: self._find(token) for token in conversation.special_tokens}
        self.end_of_turn = self.special_id(conversation.end_of_turn)
        # Unknown text may lead to `<unk>`, but not to a token of the structure.
        structure = {*self.bos, self._eos, *self._ids_of_special.values()}
        unknown = config["model"].get("unk_token")
        self._never = {i for i, t in self._special_tokens.items() if t != unknown} | structure

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end an answer by the format and by the tokenizer."""
        names = {text: index for index, text in self._special_tokens.items()}
        others = [names[t.text] for t in self.conversation.other_stops if t.text in names]
        return tuple(dict.fromkeys([self.end_of_turn, self._eos, *others]))

    @property
    def _eos(self) -> int:
        return int(cast(int, self.tokenizer.eos_token_id))

    def special_id(self, token: SpecialToken) -> int:
        """Return the id of a special token of the conversation format."""
        return self._ids_of_special[token]

    def _find(self, token: SpecialToken) -> int:
        if token == EOS:
            return self._eos
        for index, text in self._special_tokens.items():
            if text == token.text:
                return int(index)
        raise ModelError(
            f"The vocabulary has no {token.text}, which the conversation format "
            f"{self.conversation.name!r} needs.",
            "Choose the format that the model was trained on: conversation='…'.",
        )

    def encode(self, text: str, *, start: bool = True) -> list[int]:
        """Return the ids of plain text, none of which is a special token.

        Lone surrogates are encoded as U+FFFD.
        `start` is whether the text opens a piece. SentencePiece tokenizers put a space before the
        first word of a piece; after a special token LLaVA's official tokenizer puts none.
        """
        if self._adds_space and not start:
            prefixed = self._ids("\n" + text)
            if prefixed[: len(self._line_break)] == self._line_break:
                return prefixed[len(self._line_break) :]
        return self._ids(text)

    def tokenize(self, pieces: Sequence[Piece], image: ImageIds) -> list[int]:
        """See `prompt.token_ids`."""

        def encode(text: str, *, start: bool) -> list[int]:
            return self.encode(text, start=start or self.conversation.space_after_special)

        return token_ids(
            self._strip(pieces), encode, bos=self.bos, special=self.special_id, image=image
        )

    def encode_answer(self, text: str) -> list[int]:
        """Return the ids that the model generates for an answer, without the end of the turn."""
        before = self._strip(self.conversation.assistant_turn.before)[-1]
        text = self.conversation.answer_prefix + text
        if not isinstance(before, SpecialToken):
            return self.encode(text, start=False)
        text = "".join(piece for piece in self._strip([before, text]) if isinstance(piece, str))
        return self.encode(text, start=self.conversation.space_after_special)

    def _strip(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return pieces without the white space that special tokens take up (Phi-3's do)."""
        stripped = list(pieces)
        for index, piece in enumerate(pieces):
            if not isinstance(piece, SpecialToken):
                continue
            token = self._added_tokens.get(self.special_id(piece))
            before, after = index - 1, index + 1
            if after < len(pieces) and token is not None and token.rstrip:
                stripped[after] = _without_space(stripped[after], str.lstrip)
            if before >= 0 and token is not None and token.lstrip:
                stripped[before] = _without_space(stripped[before], str.rstrip)
        return [piece for piece in stripped if piece != ""]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special tokens."""
        return str(self._decoder.decode(list(ids), skip_special_tokens=True))

    def token_text(self, token: int) -> str:
        """Return one token as text with its leading space; special tokens by their names."""
        if token in self._special_tokens:
            return self._special_tokens[token]
        return self.decode([*self._line_break, token])[len(self.decode(self._line_break)) :]

    def _ids(self, text: str) -> list[int]:
        text = well_formed(text)
        if len(text) < _LONG_TEXT:
            encoding = self._encoder.encode(text, add_special_tokens=False)
        else:  # a batch releases the lock, for which others would wait half a second
            (encoding,) = self._encoder.encode_batch_fast([text], add_special_tokens=False)
        ids: list[int] = encoding.ids
        if not self._never.isdisjoint(ids):
            raise ModelError(
                "The tokenizer gives plain text the id of a special token.",
                "Report this checkpoint.",
            )
        return ids


def _without_pieces(model: dict[str, Any], pieces: set[str]) -> dict[str, Any]:
    """Return a tokenizer's model that makes none of these pieces of any text.

    Merges may lead to a special token (`</s>` is in Llama's vocabulary), also from letters that the
    normalizer changes to its own, so these pieces and what is merged of them are left out. What
    stands for unknown text remains: it is no structure, and only unknown text leads to it.
    """
    vocabulary, unknown = model["vocab"], model.get("unk_token")
    if isinstance(vocabulary, list):  # Unigram's pieces, whose places are their ids
        worst = min((score for _, score in vocabulary), default=0.0) - 1e6
        return model | {"vocab": [[p, worst if p in pieces else s] for p, s in vocabulary]}
    kept = {piece: index for piece, index in vocabulary.items() if piece not in pieces}
    if unknown in vocabulary:
        kept[unknown] = vocabulary[unknown]
    changed = model | {"vocab": kept}
    if "merges" in model:
        prefix = len(model.get("continuing_subword_prefix") or "")
        pairs = (tuple(m.split(" ")) if isinstance(m, str) else m for m in model["merges"])
        changed["merges"] = [
            (first, second)
            for first, second in pairs
            if pieces.isdisjoint((first, second, first + second[prefix:]))
        ]
    return changed


def _without_space(piece: Piece, strip: Callable[[str, str], str]) -> Piece:
    return strip(piece, _WHITE_SPACE) if isinstance(piece, str) else piece


class IncrementalDecoder:
    """Takes tokens one by one and returns text as soon as it is complete, never half a character.

    The text of a token is the difference between decoding a short window with and without it,
    since decoders treat the first token of a text differently. (`tokenizers`' own DecodeStream
    raises on bytes that are not UTF-8, which a model may generate.)
    """

    #: No character takes more tokens; after so many, incomplete text is returned as it is.
    MAX_PENDING = 8

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._returned = 0  # tokens of the window whose text was returned

    def step(self, token: int) -> str:
        """Return the text that `token` completes; often that of the token itself."""
        self._window.append(token)
        text = self._decode(self._window)
        if text.endswith("\ufffd") and len(self._window) - self._returned < self.MAX_PENDING:
            return ""
        return self._advance(text)

    def rest(self) -> str:
        """Return the text that is still incomplete."""
        return self._advance(self._decode(self._window))

    def _advance(self, text: str) -> str:
        new = text[len(self._decode(self._window[: self._returned])) :]
        self._window = self._window[self._returned :]
        self._returned = len(self._window)
        return new
