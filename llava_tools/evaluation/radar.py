"""A radar plot of an evaluation, with an axis for each benchmark, like the figure of the paper.

Each axis begins at 0 in the middle, and its 1 is the published figure of LLaVA 1.5 13B.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from llava_tools.bench.report import save_plot
from llava_tools.errors import RequestError
from llava_tools.evaluation.result import TaskResult

#: Fewer axes enclose no area.
LEAST_AXES = 3


def check_axes(count: int) -> None:
    """Check that there are enough benchmarks for a plot.

    Raises:
        RequestError: There are less than `LEAST_AXES`.
    """
    if count < LEAST_AXES:
        raise RequestError(
            f"A radar plot needs {LEAST_AXES} benchmarks, and there are {count}.",
            "Leave out --plot, or evaluate more.",
        )


def plot(results: Sequence[TaskResult], model: str, path: Path) -> None:
    """Write the plot.

    Args:
        results: Of at least `LEAST_AXES` benchmarks. Those without a figure have no point.
        model: Its name, for the legend.
        path: A .png, .svg or .pdf in a folder that exists.
    """
    check_axes(len(results))
    from matplotlib.figure import Figure  # not pyplot, which would look for a screen

    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.add_subplot(projection="polar")
    angles = [2 * math.pi * place / len(results) for place in range(len(results))]
    largest = [result.task.published[1] for result in results]
    curves = {
        "LLaVA 1.5 7B, published": [result.task.published[0] for result in results],
        "LLaVA 1.5 13B, published": largest,
        model: [math.nan if r.score is None else r.score.value for r in results],
    }
    for (name, values), style in zip(curves.items(), ("--", ":", "o-"), strict=True):
        shares = [value / most for value, most in zip(values, largest, strict=True)]
        # The first point again closes the line; a missing figure interrupts it.
        axes.plot([*angles, angles[0]], [*shares, shares[0]], style, label=name)
    axes.set_xticks(angles, [_label(result) for result in results], fontsize=8)
    for angle, label in zip(angles, axes.get_xticklabels(), strict=True):
        across = round(math.cos(angle), 1)  # labels at the sides stand beside the circle
        label.set_horizontalalignment("left" if across > 0 else "right" if across < 0 else "center")
    axes.tick_params(axis="x", pad=8)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_ylim(bottom=0)
    axes.set_title("1 on each axis: the published figure of LLaVA 1.5 13B", fontsize=9, pad=30)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    save_plot(figure, path)


def _label(result: TaskResult) -> str:
    """Return a benchmark's title with its figure, which never stands without its limits."""
    if result.score is None:
        return f"{result.task.title}\n(needs {result.needs})"
    limited = f" (limited: {result.samples:,})" if result.is_limited else ""
    return f"{result.task.title}\n{result.score.value:.1f}{limited}"
