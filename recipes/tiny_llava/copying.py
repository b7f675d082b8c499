"""A start for copying: two heads that look back, and heads that look for what was said before.

A model of this depth needs a thousand steps before it finds out, all at once, that what it is
writing may stand earlier in the text. The circuit for it is known (induction: Olsson et al.,
2022), so it is laid down as a start, in heads that ``ground_words`` leaves alone, and goes on
learning from there: two heads of the second layer attend to the token before and to the one before
that; heads of the third attend to where the last two tokens followed each other before, and say
what came next there.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from .hearing import hear, scores
from .packing import IGNORED, IMAGE, PAD, Conversations

BACK_LAYER, BACK_HEADS = 1, (3, 2)
"""Layer and heads that attend one and two tokens back."""
MATCH_LAYER, MATCH_HEADS = 2, (0, 1, 2, 3)
"""Layer and heads that attend to what came next before."""
AHEAD_HEAD = 3
"""Head of the last layer that looks ahead of what is copied."""

_FASTEST = 17
"""RoPE's frequencies from here on turn slowly enough for contents to be compared over."""

_EVEN = 16.0
"""Values are this long, so that their matrix is no smaller than others: Muon's steps have one size
for all matrices, and would undo a small one at once."""


@torch.no_grad()
def ground_copying(
    model: LlavaForConditionalGeneration,
    told: Conversations,
    features: Tensor,
    *,
    sharpness: float = 120.0,
    match: float = 12.0,
    gain: float = 2.0,
    seed: int = 11,
) -> None:
    """Lay the circuit down in place.

    Args:
        model: A model that has learned nothing yet; in a trained one these heads are lost in what
            its first layers add.
        told: Packed conversations to fit the heads on.
        features: Projected features of their pictures, as in ``step_loss``.
        sharpness: How strongly the first heads prefer the one token to its neighbours.
        match: How strongly two equal tokens attract each other.
        gain: How loudly the next token is said, relative to the residual stream.
        seed: Of the random directions.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = cast(Any, model).model.language_model.layers
    attention = layers[BACK_LAYER].self_attn
    size, width = attention.head_dim, attention.q_proj.in_features
    table = cast(Tensor, model.get_input_embeddings().weight)
    centred = table - table.mean(dim=0)
    names = centred / centred.norm(dim=1, keepdim=True)
    near = _near(told)
    usual = _usual(model, told, features, BACK_LAYER)
    constant = _fit(usual, torch.ones(len(usual), 1))[0]
    loud = 0.5 * _residual(model, told, features, MATCH_LAYER).norm(dim=1).mean()
    for distance, head in enumerate(BACK_HEADS, 1):
        rows = slice(head * size, (head + 1) * size)
        _look_back(attention, head, distance, constant, sharpness)
        told_of, way = _free(size, width, generator), _free(size, width, generator)
        attention.v_proj.weight[rows] = _EVEN * _fit(usual, names[near[0]] @ told_of.T)
        attention.o_proj.weight[:, rows] = loud / _EVEN * way.T
    attention = layers[MATCH_LAYER].self_attn
    usual = _usual(model, told, features, MATCH_LAYER)
    slow = torch.cat([torch.arange(_FASTEST, size // 2), torch.arange(_FASTEST, size // 2) + 32])
    scale = (match * size**0.5) ** 0.5
    loud = gain * _residual(model, told, features, MATCH_LAYER).norm(dim=1).mean()
    whole = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
    for number, head in enumerate(MATCH_HEADS):
        rows = slice(head * size, (head + 1) * size)
        codes = [names @ _free(len(slow), width, generator).T for _ in (1, 2, 3)]
        codes = [code / code.norm(dim=1, keepdim=True) for code in codes]
        share = (1.0, 0.7)
        query = sum(s * codes[d][near[d]] for d, s in enumerate(share))
        key = sum(s * codes[d][near[d + 1]] for d, s in enumerate(share))
        for matrix, sought in ((attention.q_proj.weight, query), (attention.k_proj.weight, key)):
            matrix[rows] = 0
            matrix[head * size + slow] = scale * _fit(usual, sought)
        part = whole[number * size : (number + 1) * size]
        attention.v_proj.weight[rows] = _EVEN * _fit(usual, names[near[0]] @ part.T)
        attention.o_proj.weight[:, rows] = loud / _EVEN * part.T


def _near(told: Conversations) -> list[Tensor]:
    """For every token that is kept: its id, and those of the three before it."""
    kept = _kept(told)
    rows = [torch.roll(told.ids, back, dims=1) for back in range(4)]
    return [ids[kept] for ids in rows]


def _fit(given: Tensor, sought: Tensor) -> Tensor:
    """The matrix that makes ``sought`` of ``given`` best, by ridge regression."""
    gram = given.T @ given
    ridge = 1e-3 * gram.diagonal().mean() * torch.eye(len(gram))
    found: Tensor = torch.linalg.solve(gram + ridge, given.T @ sought)
    return found.T


def _look_back(
    attention: Any, head: int, distance: int, constant: Tensor, sharpness: float
) -> None:
    """Attend to the token ``distance`` back, whatever it is, by RoPE alone.

    ``constant`` makes about 1 of what any token is, so that all ask and are asked alike.
    """
    size = attention.head_dim
    half = size // 2
    turns = 10_000.0 ** (-torch.arange(half) / half)
    fast = (torch.arange(half) < _FASTEST).float()
    strength = (sharpness * size**0.5 / fast.sum()) ** 0.5 * constant
    angles = turns * distance
    query = torch.cat([angles.cos() * fast, -angles.sin() * fast])
    key = torch.cat([fast, torch.zeros(half)])
    rows = slice(head * size, (head + 1) * size)
    attention.q_proj.weight[rows] = query[:, None] * strength
    attention.k_proj.weight[rows] = key[:, None] * strength


def _free(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Orthonormal rows in random directions."""
    square: Tensor = torch.linalg.qr(torch.randn(columns, rows, generator=generator))[0]
    return square.T


def _usual(
    model: LlavaForConditionalGeneration, told: Conversations, features: Tensor, layer: int
) -> Tensor:
    """What a layer's heads are given, for every token that is no picture's: (tokens, width)."""
    block = cast(Any, model).model.language_model.layers[layer]
    found: Tensor = block.input_layernorm(_residual(model, told, features, layer))
    return found


def _residual(
    model: LlavaForConditionalGeneration, told: Conversations, features: Tensor, layer: int
) -> Tensor:
    """The residual stream before a layer, for every token that is no picture's."""
    states = hear(model, told, features, states=True).hidden_states
    kept: Tensor = states[layer][_kept(told)]
    return kept


def _kept(told: Conversations) -> Tensor:
    """Tokens that are no picture's, no padding, and not the first three."""
    kept = (told.ids != IMAGE) & (told.ids != PAD)
    kept[:, :3] = False
    return kept


def attention_loss(
    model: LlavaForConditionalGeneration, told: Conversations, states: Any
) -> Tensor:
    """How far those heads are from looking where they should, averaged over heads and tokens.

    The back heads should look one and two tokens back from everywhere; the match heads, from the
    token before each that is learned, to an earlier place where the same token follows the longest
    like run of tokens. Places without such a run are not asked about.

    Args:
        model: The model.
        told: Packed conversations.
        states: Hidden states of the language model for them, before each of its layers.
    """
    inner = cast(Any, model).model.language_model
    turning = inner.rotary_emb(states[0], told.positions)
    back = scores(inner.layers[BACK_LAYER], states[BACK_LAYER], turning, BACK_HEADS)
    match = scores(inner.layers[MATCH_LAYER], states[MATCH_LAYER], turning, MATCH_HEADS)
    losses = []
    for row in range(len(told.ids)):
        allowed = told.allowed[row, 0]
        seen = torch.where(allowed, 0.0, -1e9)
        for head, distance in enumerate((1, 2)):
            weights = torch.log_softmax(back[row][head](None) + seen, dim=-1)
            known = allowed.diagonal(-distance) & (told.ids[row, distance:] != PAD)
            losses.append((0.5, -weights.diagonal(-distance)[known]))
        learned = (told.labels[row] != IGNORED).nonzero()[:, 0] - 1
        places = _sources(told.ids[row], allowed, learned)
        asked = learned[places.any(dim=1)]
        hidden = torch.where(places[places.any(dim=1)], 0.0, -1e9)
        for head in range(len(MATCH_HEADS)):
            weights = torch.log_softmax(match[row][head](asked) + seen[asked], dim=-1)
            losses.append((1.0, -torch.logsumexp(weights + hidden, dim=-1)))
    total = torch.cat([weight * loss for weight, loss in losses])
    return total.mean()


def ahead_loss(model: LlavaForConditionalGeneration, told: Conversations, states: Any) -> Tensor:
    """How far a head of the last layer is from looking ahead while something is copied.

    Spaces are tokens of their own, so what follows a word in the middle of what is copied and at
    its end begins alike. From a token that was copied, the head should look at the second one after
    the place where it was copied from: a next word, or what ends the copy.

    Args:
        model: The model.
        told: Packed conversations.
        states: Hidden states of the language model for them, before each of its layers.

    Returns:
        The mean over such tokens; 0 where nothing is copied.
    """
    inner = cast(Any, model).model.language_model
    last = len(inner.layers) - 1
    head = min(AHEAD_HEAD, inner.config.num_attention_heads - 1)
    turning = inner.rotary_emb(states[0], told.positions)
    look = scores(inner.layers[last], states[last], turning, (head,))
    losses = []
    for row in range(len(told.ids)):
        allowed = told.allowed[row, 0]
        before = (told.labels[row] != IGNORED).nonzero()[:, 0] - 1
        places = torch.roll(_sources(told.ids[row], allowed, before), 2, dims=1)
        places &= allowed[before]
        asked = before[places.any(dim=1)] + 1
        if len(asked):
            seen = torch.where(allowed[asked], 0.0, -1e9)
            hidden = torch.where(places[places.any(dim=1)], 0.0, -1e9)
            weights = torch.log_softmax(look[row][0](asked) + seen, dim=-1)
            losses.append(-torch.logsumexp(weights + hidden, dim=-1))
    return torch.cat(losses).mean() if losses else torch.zeros(())


def _sources(ids: Tensor, allowed: Tensor, asked: Tensor, longest: int = 4) -> Tensor:
    """For each asked place, where its next token stands after the longest like run: (n, length)."""
    length = len(ids)
    follows = allowed[asked] & (ids[None] == ids[asked + 1][:, None])
    best = torch.zeros(len(asked), length, dtype=torch.bool)
    run = follows
    for back in range(longest):
        here = ids[(asked - back).clamp(min=0)]
        there = torch.roll(ids, back + 1)
        run = run & (there[None] == here[:, None])
        best = torch.where(run.any(dim=1, keepdim=True), run, best)
    return best
