"""What a killed tuning goes on from: weights that learn, optimizer, step; and the losses so far."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llava_tools.errors import RequestError
from llava_tools.finetune.options import TuneOptions

_SAME_RESULT = ("out", "work", "images", "data", "micro_batch", "save_every", "workers", "device")
"""Options that may be others when a tuning goes on; `data` is known by its content."""


@dataclass(frozen=True)
class Row:
    """A step that was made.

    Attributes:
        step: Its number, from 1.
        loss: Mean cross entropy of its learned tokens, in nats.
        tokens: How many they were.
        rate: Learning rate of the language model's part.
    """

    step: int
    loss: float
    tokens: int
    rate: float


def write_whole(state: dict[str, Any], path: Path) -> None:
    """Save a state; until it is whole, the one before it stays."""
    fresh = path.with_suffix(".part")
    torch.save(state, fresh)
    fresh.replace(path)


class Checkpoints:
    """A tuning's folder: `state.pt`, `losses.jsonl`.

    Args:
        folder: Made by `keep` where it is missing.
        options: Of the tuning.
    """

    def __init__(self, folder: Path, options: TuneOptions) -> None:
        self._folder = folder
        self._state = folder / "state.pt"
        self._losses = folder / "losses.jsonl"
        self._options = _identity(options)

    def recall(self) -> dict[str, Any] | None:
        """Return what `save` kept last, or None at the beginning.

        Raises:
            RequestError: The folder belongs to a tuning with other options or other data.
        """
        if not self._state.exists():
            return None
        state: dict[str, Any] = torch.load(self._state, map_location="cpu", weights_only=True)
        before = state["options"]
        others = [name for name, value in self._options.items() if before.get(name) != value]
        if others:
            raise RequestError(
                f"The folder {self._folder} holds a tuning with other options: "
                + ", ".join(f"{n}={before.get(n)!r}, now {self._options[n]!r}" for n in others)
                + ".",
                "Go on with the same ones, or choose another folder for this one.",
            )
        return state

    def save(self, step: int, weights: Mapping[str, Tensor], optimizer: dict[str, Any]) -> None:
        """Keep a state; a kill while it is written leaves the one before it whole."""
        kept = {name: weight.detach() for name, weight in weights.items()}
        state = {"step": step, "weights": kept, "optimizer": optimizer, "options": self._options}
        write_whole(state, self._state)

    def rows(self, until: int) -> list[Row]:
        """Return the steps up to `until`; those behind it were lost with their process."""
        if not self._losses.exists():
            return []
        lines = self._losses.read_text().splitlines()[:until]
        return [Row(**json.loads(line)) for line in lines]

    def keep(self, rows: Iterable[Row]) -> None:
        """Write the steps down anew."""
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._losses.with_suffix(".part")
        fresh.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
        fresh.replace(self._losses)

    def add(self, row: Row) -> None:
        """Write a step down."""
        with self._losses.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")


def _identity(options: TuneOptions) -> dict[str, Any]:
    """What two runs must have in common to give the same losses."""
    rate, projector_rate = options.rates
    chosen = asdict(options) | {"rate": rate, "projector_rate": projector_rate}
    kept = {name: value for name, value in chosen.items() if name not in _SAME_RESULT}
    with options.data.open("rb") as file:
        kept["data"] = hashlib.file_digest(file, "sha256").hexdigest()
    return kept
