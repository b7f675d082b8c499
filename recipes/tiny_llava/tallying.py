"""Guidance for counting and comparing: heads look at all that a question is about.

How many red circles there are is how many patches hold the middle of one. A head that looks at all
of these alike, and at ``<s>`` as at one of them, sees of ``<s>`` one part in so many plus one: that
tells the number, and none is seen as ``<s>`` alone. Where two shapes are compared, a second head
looks at the other. Bars and lines are counted alike, and what stands out among them is looked at.
Found by answers alone, this takes a model of this size very long.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from .hearing import last_heads, scores
from .packing import Conversations

HEADS = 2
"""Heads that look, the last ones of the last layer but one: most questions are about one kind of
shapes, comparisons about two."""


def tally_loss(model: LlavaForConditionalGeneration, told: Conversations, states: Any) -> Tensor:
    """How far the heads are from looking where they should: a mean divergence, 0 at the best.

    Of a look at n shapes, each shape's middle and ``<s>`` have one part in n + 1 (Kullback and
    Leibler's divergence of the head's attention from that). 0 where nothing is asked about.

    Args:
        model: The model.
        told: Packed conversations.
        states: Hidden states of the language model for them, before each of its layers.
    """
    inner = cast(Any, model).model.language_model
    layer = max(0, len(inner.layers) - 2)
    heads = last_heads(inner, HEADS)
    turning = inner.rotary_emb(states[0], told.positions)
    look = scores(inner.layers[layer], states[layer], turning, heads)
    losses = []
    for (row, asked, patch, which), share in zip(told.looks.tolist(), told.shares, strict=True):
        if which >= len(heads):
            continue
        seen = torch.where(told.allowed[row, 0, asked], 0.0, -1e9)
        weights = torch.log_softmax(look[row][which](torch.tensor([asked]))[0] + seen, dim=-1)
        sought = torch.cat([torch.ones(1), share]) / (1 + share.sum())
        found = torch.cat([weights[:1], weights[patch : patch + len(share)]])
        losses.append((torch.special.xlogy(sought, sought) - sought * found).sum())
    return torch.stack(losses).mean() if losses else torch.zeros(())
