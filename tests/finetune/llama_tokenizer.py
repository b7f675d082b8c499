"""A small tokenizer that splits LLaVA's conversation as Llama's does.

Llama's has 32,000 pieces; this one has bytes, characters, a few words, and the merges that split
roles: `▁USER` is two pieces and `USER` after `</s>` is one, which the official preprocessing needs.
As in Llama's, a piece has a space only at its front.
"""

from __future__ import annotations

import string

from tokenizers import AddedToken, Tokenizer, decoders, models, processors
from tokenizers.pre_tokenizers import Metaspace
from transformers import PreTrainedTokenizerFast

from llava_tools.chat.formats import SYSTEM

_ROLES = [
    ("E", "R"), ("▁", "U"), ("▁U", "S"), ("U", "S"), ("US", "ER"),
    ("▁", "A"), ("S", "S"), ("I", "S"), ("IS", "T"), ("A", "N"), ("AN", "T"),
    ("<", "/"), ("s", ">"), ("</", "s>"),
]  # fmt: skip
_WORDS = [*SYSTEM.split(), "What", "is", "in", "the", "picture?", "red", "blue", "circle."]


def _merges() -> list[tuple[str, str]]:
    """Return the roles' merges, then those that build words letter by letter."""
    words = [f"▁{word}" for word in _WORDS]
    letters = [(word[:end], word[end]) for word in words for end in range(1, len(word))]
    return list(dict.fromkeys([*_ROLES, *letters]))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer. It adds a space only at the start of a text, as LLaVA's training does
    (`legacy` off)."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{value:02X}>" for value in range(256))]
    pieces += ["▁", *string.ascii_letters, *string.digits, *string.punctuation]
    merges = _merges()
    pieces += ["".join(merge) for merge in merges]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    core = Tokenizer(
        models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    core.pre_tokenizer = Metaspace("▁", prepend_scheme="first", split=False)
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    for name in ("<unk>", "<s>", "</s>", "<image>"):
        core.add_special_tokens([AddedToken(name, normalized=False, special=True)])
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
