"""A decoder layer whose small operations are fused, for GPUs with Triton."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llava_tools.engine import fused_rows
from llava_tools.engine.decoder import DecoderLayer, Norm
from llava_tools.engine.step_inputs import StepInputs

if TYPE_CHECKING:
    from llava_tools.engine.attention import Attention


class FusedLayer(DecoderLayer):
    """A layer that computes the same as `DecoderLayer`; its activation is SiLU."""

    def forward(
        self, hidden: Tensor, rotations: Tensor, step: StepInputs, attention: Attention
    ) -> Tensor:
        """See `DecoderLayer.forward`."""
        keys, values = step.cache.keys[self.index], step.cache.values[self.index]
        _, normed = _normalize(self.attention_norm, hidden)
        slots = step.write
        if isinstance(slots, slice):
            slots = torch.arange(slots.start, slots.stop, device=hidden.device)
        query = fused_rows.rotate(self.qkv(normed), rotations, keys, values, slots)
        plan = step.plan
        if self.output_query is not None:
            rows, plan = step.output_rows, step.output_plan
            hidden = hidden.index_select(0, rows)
            if len(rows) == 0:
                return hidden
            projected = self.output_query(normed.index_select(0, rows))
            turned = rotations.index_select(0, rows)
            query = fused_rows.rotate(projected, turned, keys, values, None)
        variant = {} if self.window is None else {"window": self.window}
        attended = attention(plan, query, keys, values, self.scale, **variant)
        hidden, normed = _normalize(self.mlp_norm, hidden, self.out(attended))
        return hidden.add_(self.down(fused_rows.gate(self.gate_up(normed))))


def _normalize(norm: Norm, hidden: Tensor, update: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the sum of two tensors, and its norm."""
    return fused_rows.normalize(hidden, norm.weight, norm.eps, norm.dtype, update)
