"""Guidance for reading: heads of the last layer look at the character that is said next.

What is written in a picture is found by its number in the line (see
:mod:`~llava_tools.train.wide.codes`): a head for each of a patch's three slots looks for the
patch with the next number in that slot, and at ``<s>`` where the character stands in another slot.
By answers alone, a model of this size does not find that out in thousands of steps; told where to
look, it does in hundreds. What the heads bring from there is taught apart from where they look, so
that neither waits for the other.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from .hearing import scores
from .packing import Conversations
from .wide.codes import SLOTS


def reading_loss(model: LlavaForConditionalGeneration, told: Conversations, states: Any) -> Tensor:
    """Mean cross-entropy of these heads' attention, over characters; 0 where none is read.

    A model with fewer heads than slots is guided in the first slots only.

    Args:
        model: The model.
        told: Packed conversations.
        states: Hidden states of the language model for them, before each of its layers.
    """
    inner = cast(Any, model).model.language_model
    last = len(inner.layers) - 1
    turning = inner.rotary_emb(states[0], told.positions)
    slots = range(_heads(inner))
    look = scores(inner.layers[last], states[last], turning, slots)
    losses = []
    for row in told.reads[:, 0].unique().tolist():
        asked, patches, stands = told.reads[told.reads[:, 0] == row, 1:].unbind(dim=1)
        seen = torch.where(told.allowed[row, 0][asked], 0.0, -1e9)
        for slot in slots:
            sought = torch.where(stands == slot, patches, 0)
            weighed = look[row][slot](asked) + seen
            losses.append(functional.cross_entropy(weighed, sought, reduction="none"))
    return torch.cat(losses).mean() if losses else torch.zeros(())


def naming_loss(model: LlavaForConditionalGeneration, told: Conversations, given: Tensor) -> Tensor:
    """Mean cross-entropy of the characters, if these heads looked where they stand and only there.

    The other heads of the last layer are left out. 0 where nothing is read.

    Args:
        model: The model.
        told: Packed conversations.
        given: Hidden states of the language model for them, before its last layer.
    """
    inner = cast(Any, model).model.language_model
    block = inner.layers[-1]
    rows, asked, patches, slots = told.reads[told.reads[:, 3] < _heads(inner)].unbind(dim=1)
    if not len(rows):
        return torch.zeros(())
    values = block.self_attn.v_proj(block.input_layernorm(given[rows, patches]))
    heads = values.unflatten(-1, (-1, block.self_attn.head_dim))
    chosen = functional.one_hot(slots, heads.shape[1])[..., None] * heads
    looked = given[rows, asked] + block.self_attn.o_proj(chosen.flatten(1))
    said = looked + block.mlp(block.post_attention_layernorm(looked))
    return functional.cross_entropy(model.lm_head(inner.norm(said)), told.labels[rows, asked + 1])


def _heads(inner: Any) -> int:
    return min(SLOTS, inner.config.num_attention_heads)
