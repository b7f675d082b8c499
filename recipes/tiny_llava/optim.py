"""Muon for the hidden matrices, AdamW for everything else, one learning-rate schedule for both.

Muon (Jordan et al., 2024) orthogonalises the momentum of every matrix by Newton–Schulz steps. Its
updates are scaled to the size of AdamW's (Liu et al., 2025), so one learning rate serves both.
They are computed in bfloat16, as usual, where the processor has units for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .precision import quick_type


class Optimizer:
    """Both optimisers behind one ``step``.

    ``rate`` is Muon's learning rate; AdamW's is ``ratio`` times that. ``paces`` slows parameters
    down by a part of their names: ``{"projector": 0.08}``.
    """

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        rate: float,
        ratio: float = 0.5,
        momentum: float = 0.95,
        paces: Mapping[str, float] | None = None,
    ) -> None:
        parameters = list(named)
        slowed = [
            next((pace for part, pace in (paces or {}).items() if part in name), 1.0)
            for name, _ in parameters
        ]
        matrix = [p.ndim == 2 and "embed" not in name for name, p in parameters]
        rows = list(zip(parameters, slowed, matrix, strict=True))
        self.rate, self.ratio, self.momentum = rate, ratio, momentum
        self._matrices = [(p, pace, torch.zeros_like(p)) for (_, p), pace, is_m in rows if is_m]
        self._others = [(p, pace) for (_, p), pace, is_m in rows if not is_m]
        self._adam = torch.optim.AdamW(
            [{"params": [p]} for p, _ in self._others],
            lr=rate * ratio,
            betas=(0.9, 0.98),
            weight_decay=0.0,
        )

    def step(self, share: float, clip: float = 1.0) -> None:
        """Apply the gradients at ``share`` × the learning rates, then clear them."""
        torch.nn.utils.clip_grad_norm_([p for p, _ in self._others], clip)
        for group, (_, pace) in zip(self._adam.param_groups, self._others, strict=True):
            group["lr"] = self.rate * self.ratio * share * pace
        self._adam.step()
        self._adam.zero_grad()
        with torch.no_grad():
            for parameter, pace, moment in self._matrices:
                if parameter.grad is None:
                    continue
                moment.lerp_(parameter.grad, 1 - self.momentum)
                ahead = parameter.grad.lerp(moment, self.momentum)
                rate = self.rate * share * pace
                parameter.mul_(1 - 0.01 * rate)
                size = 0.2 * max(parameter.shape) ** 0.5
                parameter.sub_(orthogonal(ahead), alpha=rate * size)
                parameter.grad = None

    def state(self) -> dict[str, Any]:
        """Everything that :meth:`load` needs to go on."""
        return {
            "moments": [moment for *_, moment in self._matrices],
            "adam": self._adam.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a saved :meth:`state`."""
        self._adam.load_state_dict(state["adam"])
        for (*_, moment), saved in zip(self._matrices, state["moments"], strict=True):
            moment.copy_(saved)


def orthogonal(matrix: Tensor, steps: int = 4, kind: torch.dtype | None = None) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: singular values end near one.

    It is computed in ``kind``, by default :func:`~recipes.tiny_llava.precision.quick_type`'s.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = (x / (x.norm() + 1e-7)).to(kind or quick_type())
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315) @ x
    x = x.to(matrix.dtype)
    return x.T if tall else x


def linear_decay(done: float, warm: float = 0.01, hold: float = 0.35) -> float:
    """Share of the learning rate when ``done`` (0–1) of the stage is over: up, level, down to 0."""
    if done < warm:
        return max(done / warm, 0.02)
    if done < hold:
        return 1.0
    return max(0.0, (1.0 - done) / (1.0 - hold))
