"""Attention over the KV: a plug with one implementation for each kind of device.

A step packs rows of many sequences: whole prompts, ends of prompts, single tokens. Once a step the
plug plans on the host what each row attends to; each layer then calls it with the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class SequenceRows:
    """One sequence's share of a step.

    Attributes:
        first: Its first row in the step.
        rows: How many rows it has.
        past: Keys before those of its rows.
        blocks: The first slot of each of its KV blocks; there may be more than it has filled.
    """

    first: int
    rows: int
    past: int
    blocks: Sequence[int]

    @property
    def length(self) -> int:
        """All of its keys, those of its rows included."""
        return self.past + self.rows


class Attention(Protocol):
    """What a decoder's layers attend with."""

    def plan(self, sequences: Sequence[SequenceRows], block_size: int) -> Any:
        """Return what the rows of a step attend to, for all layers.

        Args:
            sequences: In the order of their rows, which follow each other from row 0 on.
            block_size: Slots of a KV block.
        """

    def __call__(
        self, plan: Any, query: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        """Return the attention's output of each row, [rows, heads * head_dim].

        Each row attends to its sequence's keys up to its own. The keys and values of the rows are
        in the KV already.

        Args:
            plan: From `plan`.
            query: [rows, heads, head_dim], float32 or in the KV's dtype; `heads` is a multiple of
                `kv_heads`, and each KV head serves the same number of successive heads.
            keys: The layer's, [slots, kv_heads, head_dim].
            values: The same.
            scale: Factor of the scores.
        """


def make_attention(device: torch.device) -> Attention:
    """Return the attention for a device."""
    if device.type == "cpu":
        from llava_tools.engine.attention.reference import ReferenceAttention

        return ReferenceAttention()
    from llava_tools.engine.attention.cuda import make_cuda_attention

    return make_cuda_attention(device)
