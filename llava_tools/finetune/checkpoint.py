"""Training state on disk, from which a killed run resumes; and the metrics of its steps.

`Trainer` applies the state.
"""

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
from llava_tools.finetune.options import MAY_CHANGE_ON_RESUME, StageOptions


@dataclass(frozen=True)
class StepMetrics:
    """What a finished step reports.

    Attributes:
        step: Its number, from 1.
        loss: Mean cross entropy of its target tokens, in nats.
        tokens: Number of target tokens.
        learning_rate: Learning rate of the language model, or of the projector if only that learns.
        held_out_loss: Mean cross entropy of the held-out records after the step, in nats; None if
            they were not evaluated.
    """

    step: int
    loss: float
    tokens: int
    learning_rate: float
    held_out_loss: float | None = None


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Save a state with torch. The previous file stays until the new one is complete."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


class CheckpointStore:
    """The work folder of a run: `state.pt` and `losses.jsonl`.

    `write_metrics` creates the folder.
    """

    def __init__(self, folder: Path, options: StageOptions) -> None:
        self._folder = folder
        self._state = folder / "state.pt"
        self._metrics = folder / "losses.jsonl"
        self._options = _resume_options(options)

    def load(self) -> dict[str, Any] | None:
        """Return the state that `save` wrote last, or None if there is none.

        Raises:
            RequestError: The folder belongs to a run with other options or other data.
        """
        if not self._state.exists():
            return None
        state: dict[str, Any] = torch.load(self._state, map_location="cpu", weights_only=True)
        saved = state["options"]
        changed = [name for name, value in self._options.items() if saved.get(name) != value]
        if changed:
            raise RequestError(
                f"The folder {self._folder} holds a run with other options: "
                + ", ".join(f"{n}={saved.get(n)!r}, now {self._options[n]!r}" for n in changed)
                + ".",
                "Resume with the same options, or choose another work folder.",
            )
        return state

    def save(self, step: int, weights: Mapping[str, Tensor], optimizer: dict[str, Any]) -> None:
        """Write the state after a step; a kill meanwhile leaves the previous one intact."""
        detached = {name: weight.detach() for name, weight in weights.items()}
        state = {"step": step, "weights": detached, "optimizer": optimizer}
        save_atomically(state | {"options": self._options}, self._state)

    def read_metrics(self, steps: int) -> list[StepMetrics]:
        """Return the metrics of the first `steps` steps.

        Later lines are of steps that no saved state includes.
        """
        if not self._metrics.exists():
            return []
        lines = self._metrics.read_text(encoding="utf-8").splitlines()[:steps]
        return [StepMetrics(**json.loads(line)) for line in lines]

    def write_metrics(self, metrics: Iterable[StepMetrics]) -> None:
        """Replace all metrics."""
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._metrics.with_suffix(".part")
        part.write_text("".join(map(_line, metrics)), encoding="utf-8")
        part.replace(self._metrics)

    def append_metrics(self, metrics: StepMetrics) -> None:
        """Add those of one step."""
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(_line(metrics))


def _line(metrics: StepMetrics) -> str:
    return json.dumps(asdict(metrics)) + "\n"


def _resume_options(options: StageOptions) -> dict[str, Any]:
    """Return what must be equal in two runs for them to have the same losses."""
    language, projector = options.learning_rates
    rates = {"learning_rate": language, "projector_learning_rate": projector}
    values = asdict(options) | rates
    values = {name: value for name, value in values.items() if name not in MAY_CHANGE_ON_RESUME}
    return values | {"data": data_digest(options.data)}


def data_digest(data: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
