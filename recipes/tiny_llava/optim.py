"""Muon for matrices and AdamW for everything else, behind one learning rate.

Muon (Jordan et al., 2024) orthogonalises the momentum of a matrix. Its updates are scaled to the
size of AdamW's (Liu et al., 2025), so one schedule serves both.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class MuonAdamW:
    """Both optimizers with one `step`.

    Args:
        named: Parameters with their names; embeddings are no matrices in this sense.
        rate: Peak learning rate of Muon; AdamW's is half of it.
    """

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], rate: float) -> None:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in named:
            is_matrix = parameter.ndim == 2 and "embed" not in name
            (matrices if is_matrix else others).append(parameter)
        muon = torch.optim.Muon(
            matrices, lr=rate, weight_decay=0.01, ns_steps=4, adjust_lr_fn="match_rms_adamw"
        )
        adam = torch.optim.AdamW(others, lr=rate / 2, betas=(0.9, 0.98), weight_decay=0.0)
        self._others = others
        self._optimizers: list[tuple[torch.optim.Optimizer, float]] = [
            (muon, rate),
            (adam, rate / 2),
        ]

    def step(self, factor: float) -> None:
        """Apply the gradients at `factor` (0-1) of the peak rates, and clear them."""
        nn.utils.clip_grad_norm_(self._others, 1.0)  # Muon's updates do not depend on the norm
        for optimizer, peak in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
            optimizer.step()
            optimizer.zero_grad()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the states of both."""
        return [optimizer.state_dict() for optimizer, _ in self._optimizers]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Continue from saved states."""
        for (optimizer, _), state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict(state)
