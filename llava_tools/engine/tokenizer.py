"""Text to tokens and back, with structure kept out of text."""

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

    Args:
        tokenizer: The checkpoint's tokenizer with a `tokenizers` backend.

    Attributes:
        tokenizer: As given.
        bos: Ids that every prompt begins with: `<s>`, or nothing.
        end_of_turn: Id of `</s>`.
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
        self._structure = {
            added.content: index for index, added in backend.get_added_tokens_decoder().items()
        }
        # The same tokenizer without its added tokens: nothing that a text spells can match one.
        bare = json.loads(backend.to_str()) | {"added_tokens": [], "post_processor": None}
        self._encoder = FastTokenizer.from_str(json.dumps(bare))
        self._line_break = self._ids("\n")

    def encode(self, text: str, *, start: bool = True) -> list[int]:
        """Return the ids of plain text; no text gives the id of an added token.

        Args:
            text: Any text.
            start: Whether it opens a piece. SentencePiece tokenizers put a space before the first
                word of a piece; behind `</s>` LLaVA's official tokenizer puts none.
        """
        ids = self._ids(text)
        if not start:
            led = self._ids("\n" + text)
            if led[: len(self._line_break)] == self._line_break:
                ids = led[len(self._line_break) :]
        if self._structure and not set(ids).isdisjoint(self._structure.values()):
            return self._encode_apart(text, start=start)
        return ids

    def tokenize(self, pieces: Sequence[Piece], image: ImageIds) -> list[int]:
        """Return the ids of a whole prompt; see `prompt.token_ids`."""
        return token_ids(
            pieces, self.encode, bos=self.bos, end_of_turn=self.end_of_turn, image=image
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special tokens."""
        return str(self._decoder.decode(list(ids), skip_special_tokens=True))

    def token_text(self, token: int) -> str:
        """Return one token as text, its leading space kept, special tokens by their names."""
        for name, index in self._structure.items():
            if index == token:
                return str(name)
        lead = self._line_break
        return self.decode([*lead, token])[len(self.decode(lead)) :]

    def decode_stream(self) -> IncrementalDecoder:
        """Return a decoder that is fed one token after the other."""
        return IncrementalDecoder(self.decode)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._encoder.encode(text, add_special_tokens=False).ids
        return ids

    def _encode_apart(self, text: str, *, start: bool) -> list[int]:
        """Encode a text whose merges lead to a special token (`</s>` is in Llama's vocabulary).

        Cutting inside every spelled token keeps merges from building it.
        """
        for name in self._structure:
            at = text.find(name)
            if at >= 0 and len(name) > 1:
                cut = at + 1
                return [
                    *self.encode(text[:cut], start=start),
                    *self.encode(text[cut:], start=False),
                ]
        raise ModelError(
            "The tokenizer gives plain text the id of a special token.", "Report this checkpoint."
        )


class IncrementalDecoder:
    """Tokens in one by one, text out as soon as it is certain (never half a character).

    What a token adds is the difference between decoding a short window with and without it, since
    decoders treat the first token of a text differently. (`tokenizers`' own DecodeStream raises
    on bytes that are no UTF-8, which a model may well generate.)
    """

    #: Tokens without a certain end after which text is given out as it is: no character is longer.
    PATIENCE = 8

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._shown = 0  # tokens of the window whose text was given out

    def step(self, token: int) -> str:
        """Return the text that became certain with `token`; often that of the token itself."""
        self._window.append(token)
        text = self._decode(self._window)
        if text.endswith("\ufffd") and len(self._window) - self._shown < self.PATIENCE:
            return ""
        return self._advance(text)

    def rest(self) -> str:
        """Return what never became certain."""
        return self._advance(self._decode(self._window))

    def _advance(self, text: str) -> str:
        new = text[len(self._decode(self._window[: self._shown])) :]
        self._window = self._window[self._shown :]
        self._shown = len(self._window)
        return new
