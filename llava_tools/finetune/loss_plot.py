"""A plot of losses: every one, and their running mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

SIZE = (8.0, 4.5)
"""Inches of one panel, at 100 dots each."""


def plot(losses: Mapping[str, Sequence[float]], path: Path, every: int = 1) -> None:
    """Write a PNG with one panel a curve, below each other.

    Args:
        losses: At least one curve of at least one loss each, under their titles.
        path: The file, written anew.
        every: Steps between two losses.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0], SIZE[1] * len(losses)), dpi=100, layout="constrained")
    for place, (name, values) in enumerate(losses.items(), 1):
        panel = figure.add_subplot(len(losses), 1, place)
        steps = range(every, every * len(values) + 1, every)
        panel.plot(steps, values, color="#b8c4d8", linewidth=1, label="each")
        panel.plot(steps, running_mean(values), color="#1f4e9c", label="running mean")
        panel.set(title=name, xlabel="step", ylabel="loss")
        panel.set_ylim(bottom=0)
        panel.legend()
    figure.savefig(path)


def running_mean(values: Sequence[float]) -> list[float]:
    """Return for every value the mean of those up to it, a twentieth of all at most."""
    reach = max(1, len(values) // 20)
    return [
        sum(values[max(0, end - reach) : end]) / min(reach, end)
        for end in range(1, len(values) + 1)
    ]
