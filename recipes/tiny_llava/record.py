"""What progress lines tell: the loss and the share of right answers by kind."""

from __future__ import annotations

from collections import defaultdict

from torch import Tensor

from .packing import Conversations


class Record:
    """Loss and share of right answers by kind since the last progress line."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._looks: list[float] = []
        self._right: defaultdict[str, list[bool]] = defaultdict(list)

    def add(self, told: Conversations, right: Tensor, loss: float, looks: float) -> None:
        """Take a step's losses, and which tokens of its conversations were right."""
        self._losses.append(loss)
        self._looks.append(looks)
        for row, first, length, kind in told.answers:
            self._right[kind].append(bool(right[row, first : first + length].all()))

    def figures(self) -> dict[str, float]:
        """What was collected, and start anew."""
        told = {"loss": sum(self._losses) / len(self._losses)}
        told["looks"] = sum(self._looks) / len(self._looks)
        told |= {kind: sum(hits) / len(hits) for kind, hits in sorted(self._right.items())}
        self._losses.clear()
        self._looks.clear()
        self._right.clear()
        return told
