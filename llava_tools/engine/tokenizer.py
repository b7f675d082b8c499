"""Text to tokens and back. Text that spells a special token never becomes one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer as FastTokenizer

from llava_tools.chat.prompt import ImageIds, Piece, token_ids
from llava_tools.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Tokenizer:
    """A checkpoint's tokenizer, used the way LLaVA's official code uses it.

    Attributes:
        tokenizer: The checkpoint's tokenizer with a `tokenizers` backend.
        bos: Ids that every prompt begins with: `<s>`, or nothing.
        end_of_turn: Id of `</s>`.

    Raises:
        ModelError: It has no such backend, or no `</s>`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or tokenizer.eos_token_id is None:
            raise ModelError(
                f"The tokenizer {type(tokenizer).__name__} has no tokenizer.json or no </s>.",
                "Use a checkpoint in the llava-hf layout.",
            )
        self.tokenizer = tokenizer
        self.bos = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
        self.end_of_turn = int(tokenizer.eos_token_id)
        self._decoder: Any = backend
        added_tokens = backend.get_added_tokens_decoder()
        self._special_tokens = {index: str(token.content) for index, token in added_tokens.items()}
        # Without its added tokens the encoder finds none of them in a text that spells one.
        config = json.loads(backend.to_str()) | {"added_tokens": [], "post_processor": None}
        self._encoder = FastTokenizer.from_str(json.dumps(config))
        self._line_break = self._ids("\n")

    def encode(self, text: str, *, start: bool = True) -> list[int]:
        """Return the ids of plain text, none of which is a special token.

        `start` is whether the text opens a piece. SentencePiece tokenizers put a space before the
        first word of a piece; after `</s>` LLaVA's official tokenizer puts none.
        """
        ids = self._ids(text)
        if not start:
            prefixed = self._ids("\n" + text)
            if prefixed[: len(self._line_break)] == self._line_break:
                ids = prefixed[len(self._line_break) :]
        if not self._special_tokens.keys().isdisjoint(ids):
            return self._encode_in_parts(text, start=start)
        return ids

    def tokenize(self, pieces: Sequence[Piece], image: ImageIds) -> list[int]:
        """See `prompt.token_ids`."""
        return token_ids(
            pieces, self.encode, bos=self.bos, end_of_turn=self.end_of_turn, image=image
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special tokens."""
        return str(self._decoder.decode(list(ids), skip_special_tokens=True))

    def token_text(self, token: int) -> str:
        """Return one token as text with its leading space; special tokens by their names."""
        if token in self._special_tokens:
            return self._special_tokens[token]
        return self.decode([*self._line_break, token])[len(self.decode(self._line_break)) :]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._encoder.encode(text, add_special_tokens=False).ids
        return ids

    def _encode_in_parts(self, text: str, *, start: bool) -> list[int]:
        """Encode a text whose merges lead to a special token (`</s>` is in Llama's vocabulary).

        A cut inside every spelled token keeps merges from building it.
        """
        for name in self._special_tokens.values():
            index = text.find(name)
            if index >= 0 and len(name) > 1:
                cut = index + 1
                before = self.encode(text[:cut], start=start)
                return before + self.encode(text[cut:], start=False)
        raise ModelError(
            "The tokenizer gives plain text the id of a special token.", "Report this checkpoint."
        )


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
