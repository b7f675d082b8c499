"""`MetricsLog`: the losses of a run for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llava_tools.errors import require
from llava_tools.finetune.checkpoint import StepMetrics


class MetricsLog:
    """Writes the metrics of steps as TensorBoard's events.

    Args:
        folder: Of the events; None writes none.
        finished: Steps that a resumed run has finished; later events of it are replaced.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path | None, finished: int) -> None:
        self._writer: Any = None
        if folder is not None:
            require("tensorboard", extra="tensorboard")
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=finished + 1)

    def write(self, metrics: StepMetrics) -> None:
        """Write the metrics of a step."""
        if self._writer is None:
            return
        values = {
            "loss": metrics.loss,
            "learning_rate": metrics.learning_rate,
            "held_out_loss": metrics.held_out_loss,
        }
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, metrics.step)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
