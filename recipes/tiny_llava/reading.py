"""Guidance for reading: heads of the last layer look at the character that is said next.

What is written in a picture is found by its number in the line (see
:mod:`~recipes.tiny_llava.wide.codes`): a head for each of a patch's three slots looks for the
patch with the next number in that slot, and at ``<s>`` where the character stands in another slot.
By answers alone, a model of this size does not find that out in thousands of steps, for it takes
four things that are worth nothing without each other: to count what was said, to look for the next
number, to bring what stands there, and to say it. So each is taught by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from .hearing import hear, last_heads, scores
from .packing import PAD, Conversations
from .wide.codes import SLOTS
from .wide.questions import written_box
from .wide.things import MOST_GLYPHS

_CLEAR = 3.0
"""How much of a state tells how many tokens were said: this times it are log-probabilities."""

_BOX = len(" " + written_box((0, 0, 0, 0)))
"""Tokens of a box, one a character."""

_SLOWEST = 22
"""RoPE's frequencies from here on hardly turn over a row's length."""


def ground_reading(
    model: LlavaForConditionalGeneration,
    batches: Iterable[tuple[Conversations, Tensor]],
    steps: int = 400,
    seed: int = 13,
) -> float:
    """Let the reading heads bring what their slots say, and the last layer say it.

    Values and outputs of these heads are fitted to :func:`naming_loss` while all else stays. They
    look at ``<s>``, from which they bring nothing, until they learn where else to look.

    Args:
        model: The model; these heads are changed in place.
        batches: Packed conversations in which something is read, and projected features of their
            pictures, as in ``step_loss``.
        steps: Of Adam.
        seed: Of the start.

    Returns:
        The loss at the end.
    """
    inner = cast(Any, model).model.language_model
    block = inner.layers[-1]
    size = block.self_attn.head_dim
    heads = reading_heads(inner)
    with torch.no_grad():
        read = [_read(model, told, features, heads) for told, features in batches]
    seen, given, slots, truth, usual = (torch.cat(part) for part in zip(*read, strict=True))
    first, usual = usual[:1], usual[usual.ne(usual[:1]).any(dim=1)]
    generator = torch.Generator().manual_seed(seed)
    width = seen.shape[1]
    start = torch.randn(len(heads) * size, width, generator=generator) * width**-0.5
    value, out = start.clone().requires_grad_(), start.T.clone().requires_grad_()
    adam = torch.optim.Adam([value, out], 3e-3)
    loss = torch.zeros(())
    for _ in range(steps):
        chosen = torch.randint(len(seen), (512,), generator=generator)
        brought = (seen[chosen] @ value.T).unflatten(-1, (-1, size))
        alone = functional.one_hot(slots[chosen], len(heads))[..., None] * brought
        looked = given[chosen] + alone.flatten(1) @ out.T
        said = looked + block.mlp(block.post_attention_layernorm(looked))
        loss = functional.cross_entropy(model.lm_head(inner.norm(said)), truth[chosen])
        nothing = (first @ value.T @ out.T).square().mean()
        adam.zero_grad()
        (loss + nothing).backward()
        adam.step()
    model.zero_grad()
    part = slice(heads.start * size, heads.stop * size)
    with torch.no_grad():
        block.self_attn.v_proj.weight[part] = value
        block.self_attn.o_proj.weight[:, part] = out
        _look_at_first(block.self_attn, heads, first, usual)
    return float(loss.detach())


def _read(
    model: LlavaForConditionalGeneration, told: Conversations, features: Tensor, heads: range
) -> tuple[Tensor, ...]:
    """What the last layer has: patches that are read, states that read them, slots, tokens; all.

    The first of all is ``<s>``.
    """
    before = hear(model, told, features, states=True).hidden_states[-1]
    given = cast(Any, model).model.language_model.layers[-1].input_layernorm(before)
    rows, asked, patches, slots = told.reads[told.reads[:, 3] < len(heads)].unbind(dim=1)
    truth = told.labels[rows, asked + 1]
    return given[rows, patches], before[rows, asked], slots, truth, given[told.ids != PAD]


def _look_at_first(
    attention: Any, heads: range, first: Tensor, usual: Tensor, sharpness: float = 9.0
) -> None:
    """Let heads attend to ``<s>`` from everywhere, by the contents that turn slowly (RoPE)."""
    size = attention.head_dim
    moment = usual.T @ usual / len(usual)
    moment += 1e-3 * moment.diagonal().mean() * torch.eye(len(moment))
    asks = torch.linalg.solve(moment, usual.mean(dim=0))
    asks = asks / (usual @ asks).mean()
    told = torch.linalg.solve(moment, first[0])
    told = told / (first[0] @ told)
    slow = [row for row in range(size) if row % (size // 2) >= _SLOWEST]
    strength = (sharpness * size**0.5 / len(slow)) ** 0.5
    for head in heads:
        rows = [head * size + row for row in slow]
        attention.q_proj.weight[rows] = strength * asks
        attention.k_proj.weight[rows] = strength * told


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
    heads = reading_heads(inner)
    look = scores(inner.layers[last], states[last], turning, heads)
    losses = []
    for row in told.reads[:, 0].unique().tolist():
        asked, patches, stands = told.reads[told.reads[:, 0] == row, 1:].unbind(dim=1)
        seen = torch.where(told.allowed[row, 0][asked], 0.0, -1e9)
        for slot in range(len(heads)):
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
    heads = reading_heads(inner)
    rows, asked, patches, slots = told.reads[told.reads[:, 3] < len(heads)].unbind(dim=1)
    if not len(rows):
        return torch.zeros(())
    values = block.self_attn.v_proj(block.input_layernorm(given[rows, patches]))
    brought = values.unflatten(-1, (-1, block.self_attn.head_dim))
    chosen = functional.one_hot(slots + heads.start, brought.shape[1])[..., None] * brought
    looked = given[rows, asked] + block.self_attn.o_proj(chosen.flatten(1))
    said = looked + block.mlp(block.post_attention_layernorm(looked))
    return functional.cross_entropy(model.lm_head(inner.norm(said)), told.labels[rows, asked + 1])


def counting_loss(
    model: LlavaForConditionalGeneration, told: Conversations, given: Tensor
) -> Tensor:
    """Mean cross-entropy of how many tokens of its answer were said before each, as told by states.

    Each number has a fixed direction in which a state is to point; answers of tools count as well,
    and only the first tokens of each, but of a box all.

    Args:
        model: The model.
        told: Packed conversations.
        given: Hidden states of the language model for them, before its last layer.
    """
    inner = cast(Any, model).model.language_model
    places = [
        (row, first + said, said)
        for row, first, length, kind in told.answers
        for said in range(min(length - 1, _BOX if kind == "box" else MOST_GLYPHS))
    ]
    rows, here, counts = torch.tensor(places).unbind(dim=1)
    states = inner.layers[-1].input_layernorm(given[rows, here])
    return functional.cross_entropy(_CLEAR * states @ numbers(given.shape[-1]).T, counts)


def numbers(width: int, seed: int = 17) -> Tensor:
    """The directions in which states point that have heard so many tokens: orthonormal rows."""
    generator = torch.Generator().manual_seed(seed)
    some = torch.randn(width, MOST_GLYPHS, generator=generator)
    more = torch.randn(width, _BOX - MOST_GLYPHS, generator=generator)
    way: Tensor = torch.linalg.qr(torch.cat([some, more], dim=1))[0]
    return way.T


def reading_heads(inner: Any) -> range:
    """Numbers of the last layer's heads that read, one a slot: its last ones."""
    return last_heads(inner, SLOTS)
