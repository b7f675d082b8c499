"""A tokenizer that cuts LLaVA's conversation as Llama's does, made by hand.

Llama's has 32,000 pieces; this one has bytes, characters, a few words, and the merges that decide
where roles begin and end: `▁USER` is two pieces and `USER` behind `</s>` one, on which the official
preprocessing's counting rests. No piece has a space but at its front, as in Llama's.
"""

from __future__ import annotations

import string

from tokenizers import AddedToken, Tokenizer, decoders, models
from tokenizers.pre_tokenizers import Metaspace
from transformers import PreTrainedTokenizerFast

from llava_tools.chat.prompt import SYSTEM

_ROLES = [
    ("E", "R"), ("▁", "U"), ("▁U", "S"), ("U", "S"), ("US", "ER"),
    ("▁", "A"), ("S", "S"), ("I", "S"), ("IS", "T"), ("A", "N"), ("AN", "T"),
    ("<", "/"), ("s", ">"), ("</", "s>"),
]  # fmt: skip
_WORDS = [*SYSTEM.split(), "What", "is", "in", "the", "picture?", "red", "blue", "circle."]


def _merges() -> list[tuple[str, str]]:
    """The roles' merges, then those that build words letter by letter."""
    spelled = [f"▁{word}" for word in _WORDS]
    letters = [(word[:end], word[end]) for word in spelled for end in range(1, len(word))]
    return list(dict.fromkeys([*_ROLES, *letters]))


def tokenizer() -> PreTrainedTokenizerFast:
    """`<unk>`, `<s>`, `</s>`, bytes, characters, merges, `<image>`; the first space is only added
    at the very beginning of a text, as the tokenizer of LLaVA's training does (`legacy` off)."""
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
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
