"""A stage's clock and memory: checkpoints that can be killed and gone on from.

A stage has a budget of minutes of computing, and counts the processor's time that it used, over
all its lives: a busy neighbour or a pause costs it nothing. ``done`` drives the learning rate.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llava_tools.finetune.checkpoint import save_atomically

TOLD = 25
"""Steps between two progress lines."""


class Stage:
    """One stage's name, budget and progress; ``path`` is its checkpoint's file.

    ``losses`` are those of its progress lines, over all its lives.
    """

    def __init__(self, name: str, path: Path, minutes: float, every: float = 120.0) -> None:
        self.name = name
        self.path = path
        self.seconds = minutes * 60
        self.step = 0
        self.losses: list[float] = []
        self._every = every
        self._before = 0.0
        self._started = time.process_time()
        self._saved = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds that the stage has computed, over all its lives."""
        return self._before + time.process_time() - self._started

    @property
    def done(self) -> float:
        """How much of the budget is spent, 0–1; never all of it before the first step is made."""
        return min(1.0, self.elapsed / self.seconds) if self.step else 0.0

    def load(self) -> dict[str, Any] | None:
        """The saved state of an earlier life, or ``None``."""
        if not self.path.exists():
            return None
        state: dict[str, Any] = torch.load(self.path, weights_only=True)
        self.step = state["step"]
        self._before = state["elapsed"]
        self.losses = state.get("losses", [])
        return state

    def save(self, **state: Any) -> None:
        """Write a checkpoint; a kill while it is written leaves the one before it whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"step": self.step, "elapsed": self.elapsed, "losses": self.losses}
        save_atomically({**kept, **state}, self.path)
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.monotonic() - self._saved > self._every

    def tell(self, figures: dict[str, float]) -> None:
        """A progress line: step, figures, steps a second and the time left; a loss is kept."""
        if "loss" in figures:
            self.losses.append(figures["loss"])
        left = max(0.0, self.seconds - self.elapsed)
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        sys.stderr.write(
            f"{self.name:9} step {self.step:5}  {text}  "
            f"{self.elapsed / max(self.step, 1):.2f} s/step  left {left / 60:.1f} min\n"
        )
        sys.stderr.flush()


def restore(weights: Mapping[str, nn.Parameter], saved: Mapping[str, Tensor]) -> None:
    """Copy saved weights into the parameters of the same names."""
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(saved[name])
