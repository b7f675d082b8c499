"""The reliability diagram: how often answers are right, by how sure the model was of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from llava_tools.bench.report import save_plot
from llava_tools.evaluation.trust.calibration import (
    BINS,
    Outcome,
    accuracy,
    bin_outcomes,
    expected_calibration_error,
    mean_confidence,
)


def plot_reliability(panels: Mapping[str, Sequence[Outcome]], path: Path) -> None:
    """Write a plot with a panel for each set of outcomes, by its title.

    A bar is the accuracy in a bin of confidence, a grey one the bin's share of the answers, and a
    point is at the bin's mean confidence. Points of a calibrated model lie on the diagonal.

    Args:
        panels: At least one, each with at least one outcome.
        path: A file that matplotlib can write: .png, .svg or .pdf.
    """
    from matplotlib.figure import Figure  # not pyplot, which would look for a screen

    figure = Figure(figsize=(3.6 * len(panels), 3.9), layout="constrained")
    for place, (title, outcomes) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), place)
        filled = [(place, items) for place, items in enumerate(bin_outcomes(outcomes)) if items]
        left = [place / BINS for place, _ in filled]
        axes.bar(
            left,
            [accuracy(items) for _, items in filled],
            width=1 / BINS,
            align="edge",
            edgecolor="white",
            label="accuracy",
        )
        axes.bar(
            left,
            [len(items) / len(outcomes) for _, items in filled],
            width=1 / BINS,
            align="edge",
            color="0.25",
            alpha=0.35,
            label="share of answers",
        )
        axes.plot([0, 1], [0, 1], linestyle="--", color="0.4", linewidth=1)
        axes.plot(
            [mean_confidence(items) for _, items in filled],
            [accuracy(items) for _, items in filled],
            "o",
            color="black",
            markersize=3,
            label="mean confidence",
        )
        error = expected_calibration_error(outcomes)
        axes.set_title(f"{title}: ECE {error:.3f}, {len(outcomes)} answers", fontsize=9)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("probability of the answer")
        axes.set_ylabel("share of right answers")
        axes.set_aspect("equal")
        axes.legend(loc="upper left", fontsize=7)
    save_plot(figure, path)
