"""The training loop of the two parts, vision and language: steps, saves, resumes."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from llava_tools.engine.device import computes_bfloat16
from llava_tools.finetune.checkpoint import save_atomically

from .optim import MuonAdamW

Loss = Callable[[np.random.Generator, float], tuple[Tensor, dict[str, float]]]
"""Draws a batch with the generator and returns its loss and further figures.

Its second argument is how much of the training is done, 0-1.
"""

SAVE_SECONDS = 60.0
LOG_STEPS = 25


def learning_rate_factor(done: float, warmup: float = 0.01, hold: float = 0.4) -> float:
    """Return the fraction of the peak rate: it rises, stays, and falls to 0 in a line."""
    if done < warmup:
        return max(done / warmup, 0.02)
    return min(1.0, (1.0 - done) / (1.0 - hold))


def train(
    name: str,
    folder: Path,
    module: nn.Module,
    loss: Loss,
    *,
    steps: int,
    rate: float,
    seed: int = 0,
) -> None:
    """Train a module in place; resume from `folder/NAME.pt` if it is there.

    Every step draws from a generator of its own seed, so that a resumed run sees the same data.
    Mean figures go to `folder/NAME.jsonl`, a line for 25 steps.

    Args:
        name: Of the files.
        folder: For them.
        module: What is trained, float32.
        loss: See `Loss`; it runs under bfloat16 autocast where the processor computes in it.
        steps: Of the whole training.
        rate: Peak learning rate of Muon.
        seed: Of the data.
    """
    optimizer = MuonAdamW(module.named_parameters(), rate)
    path, log = folder / f"{name}.pt", folder / f"{name}.jsonl"
    first, seconds = _resume(path, module, optimizer)
    figures: defaultdict[str, list[float]] = defaultdict(list)
    start = saved = time.monotonic()
    for step in range(first, steps):
        done = step / steps
        with torch.autocast("cpu", torch.bfloat16, enabled=computes_bfloat16()):
            value, more = loss(np.random.default_rng((seed, step)), done)
        value.backward()
        optimizer.step(learning_rate_factor(done))
        for key, figure in {"loss": float(value.detach()), **more}.items():
            figures[key].append(figure)
        now, is_last = time.monotonic(), step + 1 == steps
        if (step + 1) % LOG_STEPS == 0 or is_last:
            line = {key: round(float(np.mean(values)), 4) for key, values in figures.items()}
            _log(log, {"step": step + 1, "seconds": round(seconds + now - start, 1), **line})
            figures.clear()
        if now - saved > SAVE_SECONDS or is_last:
            saved = now
            state = {"weights": module.state_dict(), "optimizer": optimizer.state_dict()}
            save_atomically({**state, "step": step + 1, "seconds": seconds + now - start}, path)


def _resume(path: Path, module: nn.Module, optimizer: MuonAdamW) -> tuple[int, float]:
    """Load a saved state, if there is one; return its steps and seconds."""
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["weights"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), float(state["seconds"])


def _log(path: Path, line: dict[str, float]) -> None:
    text = json.dumps(line)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")
    sys.stderr.write(f"{path.stem} {text}\n")
