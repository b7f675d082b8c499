"""A step: what the scheduler chose, and what the runner computed from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from llava_tools.engine.sequence import Sequence


@dataclass(frozen=True)
class Share:
    """A sequence's part of a step: its next `rows` tokens."""

    sequence: Sequence
    rows: int

    @property
    def end(self) -> int:
        """The position after its last token."""
        return self.sequence.computed + self.rows


@dataclass(frozen=True)
class StepLogits:
    """What a step computed.

    Attributes:
        logits: float32 [outputs, vocab_size].
        rows: For each share, how many of them are its own; 0 for part of a prompt.
    """

    logits: torch.Tensor
    rows: list[int]
