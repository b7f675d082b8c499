"""A plot of losses and their running mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

Curve = Mapping[int, float]
"""Losses by step."""


def plot_losses(curves: Mapping[str, Curve], path: Path) -> None:
    """Write a PNG with a panel for each curve, by title.

    There must be at least one curve, each with at least one loss.
    """
    from matplotlib.figure import Figure

    # In inches, at 100 dots per inch: each panel is 8 x 4.5.
    figure = Figure(figsize=(8.0, 4.5 * len(curves)), dpi=100, layout="constrained")
    for row, (title, curve) in enumerate(curves.items(), 1):
        panel = figure.add_subplot(len(curves), 1, row)
        steps, values = list(curve), list(curve.values())
        panel.plot(steps, values, color="#b8c4d8", linewidth=1, label="each")
        panel.plot(steps, running_mean(values), color="#1f4e9c", label="running mean")
        panel.set(title=title, xlabel="step", ylabel="loss")
        panel.set_ylim(bottom=0)
        panel.legend()
    figure.savefig(path)


def running_mean(values: list[float]) -> list[float]:
    """Return the mean of each value and those before it, over a window of len(values) // 20."""
    window = max(1, len(values) // 20)
    return [
        sum(values[max(0, end - window) : end]) / min(window, end)
        for end in range(1, len(values) + 1)
    ]
