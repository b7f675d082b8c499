"""Packed conversations through the language model, and where its heads look meanwhile."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import LlavaForConditionalGeneration
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from .attention import branching
from .packing import IMAGE, Conversations


def hear(
    model: LlavaForConditionalGeneration,
    told: Conversations,
    features: Tensor,
    *,
    states: bool = False,
) -> Any:
    """What the language model makes of them: transformers' output, with all layers' ``states``.

    ``features`` (rows with a picture, 64, width) are projected image features; the eye is not used.
    """
    embedded = model.get_input_embeddings()(told.ids)
    image = told.ids == IMAGE
    embedded = embedded.masked_scatter(image[..., None], features.to(embedded.dtype))
    with branching(model.model.language_model):
        return model.model.language_model(
            inputs_embeds=embedded,
            attention_mask=told.allowed,
            position_ids=told.positions,
            use_cache=False,
            output_hidden_states=states,
            lengths=told.lengths,
        )


def last_heads(inner: Any, many: int) -> range:
    """Numbers of the last ``many`` heads of a language model's layers: all, if it has fewer."""
    heads: int = inner.config.num_attention_heads
    return range(max(0, heads - many), heads)


def scores(block: Any, states: Tensor, turning: tuple[Tensor, Tensor], heads: Any) -> Any:
    """Attention scores by row and head, as functions of which places ask (``None`` for all).

    Args:
        block: A layer of the language model.
        states: What it was given, (rows, length, width).
        turning: Cosines and sines of the positions, as the model's ``rotary_emb`` makes them.
        heads: Numbers of the heads.
    """
    attention = block.self_attn
    size = attention.head_dim
    given = block.input_layernorm(states)
    shape = (*given.shape[:2], -1, size)
    query = attention.q_proj(given).view(shape).transpose(1, 2)[:, list(heads)]
    key = attention.k_proj(given).view(shape).transpose(1, 2)[:, list(heads)]
    query, key = apply_rotary_pos_emb(query, key, *turning)

    def score(row: int, head: int) -> Any:
        def of(asked: Tensor | None) -> Tensor:
            chosen = query[row, head] if asked is None else query[row, head][asked]
            scores: Tensor = chosen @ key[row, head].T * size**-0.5
            return scores

        return of

    return [[score(row, head) for head in range(len(heads))] for row in range(len(states))]
