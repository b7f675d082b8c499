"""A language model's start: words find the patches that show what they name."""

from __future__ import annotations

from typing import Any, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from .architecture import text_width
from .patches import ATTRIBUTES, codebook
from .words import PLURALS, SINGULARS
from .world import COLOURS, SHAPES


def ground_words(model: LlavaForConditionalGeneration, tokenizer: Tokenizer, seed: int = 3) -> None:
    """Start the language model where a word finds the patches that show what it names.

    A word's embedding is the code of what it names under a fixed rotation; some heads of the first
    layer have keys that are their queries under the inverse rotation, so that "circle" attends to
    circles and not to itself; some heads of the second let the space before an answer attend to
    such words. Finding these two steps out by gradient alone takes a long plateau, for neither
    helps without the other. It is only a start: all of it goes on learning. Rows of queries and
    keys that turn fast with the distance (RoPE) are left out of it.
    """
    width = text_width(model)
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
    codes = torch.from_numpy(codebook(width))
    codes = codes / codes.norm(dim=1, keepdim=True)
    meant = dict(zip(ATTRIBUTES, codes @ rotation.T, strict=True))
    named = torch.stack([meant[name] for name in (*COLOURS, *SHAPES)]).sum(dim=0)
    embeddings = model.model.language_model.embed_tokens.weight
    layers = cast(Any, model).model.language_model.layers
    with torch.no_grad():
        embeddings.normal_(std=0.05, generator=generator)
        for word, name in _names().items():
            ids = tokenizer.encode(word, add_special_tokens=False).ids
            if len(ids) == 1:
                embeddings[ids[0]] = 0.6 * meant[name] + 0.2 * embeddings[ids[0]]
        space = embeddings[tokenizer.encode(" ", add_special_tokens=False).ids[0]]
        for layer in layers:
            for matrix in (layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight):
                matrix.normal_(std=0.6 * width**-0.5, generator=generator)
        query, key, rows = _slow_rows(layers[0], heads=3)
        query[rows] = torch.randn(len(rows), width, generator=generator) * 1.4 * width**-0.5
        key[rows] = query[rows] @ rotation
        query, key, rows = _slow_rows(layers[1], heads=2)
        chance = torch.randn(len(rows), 1, generator=generator) * (2 / len(rows)) ** 0.5
        query[rows] = 0.5 * chance * space / space.norm()
        key[rows] = 0.5 * chance * named


def _names() -> dict[str, str]:
    """Words and the attribute that each of them names."""
    words = {word: name for name in (*COLOURS, *SHAPES) for word in (name, name.title())}
    words |= {word: kind for kind in SHAPES for word in (*PLURALS[kind], *SINGULARS[kind])}
    anything = ("shape", "object", "figure", "thing", "item", "form", "element")
    return words | {word + end: "shape here" for word in anything for end in ("", "s")}


def _slow_rows(layer: Any, heads: int) -> tuple[Tensor, Tensor, list[int]]:
    """A layer's queries and keys, and those of their rows that RoPE turns slowly."""
    size = layer.self_attn.head_dim
    query, key = layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight
    last = min(heads * size, len(query))
    return query, key, [row for row in range(last) if row % (size // 2) >= size // 4]
