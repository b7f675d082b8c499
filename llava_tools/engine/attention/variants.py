"""Attention with sliding windows, softcapped scores and sinks, for architectures that have them.

Layers without them, and windows that no sequence exceeds, go to the attention plug. The others are
computed in plain torch, one sequence at a time, as transformers' `eager` attention computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from llava_tools.engine.attention import Attention, SequenceRows

#: Scores of so many rows of a sequence are in memory at once.
_MAX_ROWS = 256


@dataclass(frozen=True)
class VariantPlan:
    """Plan of a step.

    Attributes:
        plain: The plug's own plan.
        sequences: The sequences of the step.
        block_size: Slots of a KV block.
        longest: Keys of the longest sequence.
        slots: Slots of each sequence's keys, once a layer needs them.
    """

    plain: Any
    sequences: Sequence[SequenceRows]
    block_size: int
    longest: int
    slots: list[Tensor] = field(default_factory=list)


class VariantAttention:
    """An attention plug whose calls also take a window, a softcap and sinks.

    Args:
        plain: The plug for layers without them.
    """

    def __init__(self, plain: Attention) -> None:
        self._plain = plain

    def plan(self, sequences: Sequence[SequenceRows], block_size: int) -> VariantPlan:
        """See `Attention.plan`."""
        longest = max((item.length for item in sequences), default=0)
        plain = self._plain.plan(sequences, block_size)
        return VariantPlan(plain, sequences, block_size, longest)

    def __call__(
        self,
        plan: VariantPlan,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        scale: float,
        *,
        window: int | None = None,
        softcap: float | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """See `Attention.__call__`.

        Args:
            plan: Of the step.
            query: [rows, heads, head_dim].
            keys: Of the layer, [slots, kv_heads, head_dim].
            values: The same.
            scale: Factor of the scores.
            window: Number of newest keys that a row attends to, its own included; None: all.
            softcap: Bound of the scores: `softcap * tanh(score / softcap)`.
            sinks: [heads], a score of each head that takes part in the softmax and adds nothing.

        Returns:
            [rows, heads * head_dim].
        """
        if window is not None and window >= plan.longest:
            window = None
        if window is None and softcap is None and sinks is None:
            return self._plain(plan.plain, query, keys, values, scale)
        if not plan.slots:
            plan.slots.extend(_slots(item, plan.block_size, keys.device) for item in plan.sequences)
        output = torch.empty_like(query)
        for item, slots in zip(plan.sequences, plan.slots, strict=True):
            sequence_keys, sequence_values = keys[slots], values[slots]
            for start in range(0, item.rows, _MAX_ROWS):
                rows = slice(item.first + start, item.first + min(start + _MAX_ROWS, item.rows))
                past = item.past + start
                scores = _scores(query[rows], sequence_keys, scale, softcap)
                scores.masked_fill_(~_visible(scores, past, window), -torch.inf)
                output[rows] = _mix(scores, sequence_values, sinks)
        return output.flatten(1)


def _slots(item: SequenceRows, block_size: int, device: torch.device) -> Tensor:
    """Return the slots of a sequence's keys, in order."""
    blocks = torch.tensor(item.blocks, dtype=torch.long)
    slots = (blocks[:, None] + torch.arange(block_size)).flatten()
    return slots[: item.length].to(device)


def _scores(query: Tensor, keys: Tensor, scale: float, softcap: float | None) -> Tensor:
    """Return the scores of a sequence's rows, float32 [kv_heads, heads per KV head, rows, keys]."""
    grouped = query.unflatten(1, (keys.shape[1], -1)).permute(1, 2, 0, 3)
    scores = (grouped @ keys.permute(1, 2, 0)[:, None]).float() * scale
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


def _visible(scores: Tensor, past: int, window: int | None) -> Tensor:
    """Return which keys each row attends to, [rows, keys]."""
    rows, keys = scores.shape[-2:]
    key = torch.arange(keys, device=scores.device)
    row = torch.arange(past, past + rows, device=scores.device)[:, None]
    visible = key <= row
    return visible if window is None else visible & (key > row - window)


def _mix(scores: Tensor, values: Tensor, sinks: Tensor | None) -> Tensor:
    """Return the weighted sum of values, [rows, heads, head_dim]."""
    if sinks is not None:
        column = sinks.float().view(scores.shape[0], -1, 1, 1).expand(-1, -1, scores.shape[2], 1)
        weights = torch.cat([scores, column], dim=-1).softmax(dim=-1)[..., :-1]
    else:
        weights = scores.softmax(dim=-1)
    mixed = weights.to(values.dtype) @ values.permute(1, 0, 2)[:, None]
    return mixed.permute(2, 0, 1, 3).flatten(1, 2)
