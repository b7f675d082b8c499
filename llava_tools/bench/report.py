"""Reports measurements as a table, a plot and a JSON object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_tools.bench.workload import Measurements, Workload
from llava_tools.errors import RequestError, require

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _columns(workload: Workload) -> dict[str, str]:
    """Return the columns of table and plot: from the heading to the field of `Measurements`."""
    return {
        "new image, s": "new_image_s",
        "follow-up, s": "follow_up_s",
        "tokens/s": "tokens_per_s",
        f"{workload.at_once} at once, s": "at_once_s",
    }


def _reference(measured: Sequence[Measurements]) -> Measurements:
    """Return what ratios are relative to: `generate` if it was measured, else the first."""
    return next((item for item in measured if item.name == "generate"), measured[0])


def _ratio(value: float | None, reference: float | None) -> float | None:
    return value / reference if value is not None and reference else None


def table(measured: Sequence[Measurements], workload: Workload) -> str:
    """Return the measurements (at least one) as a table, each with its ratio to the reference."""
    reference = _reference(measured)
    columns = _columns(workload)
    width = max(len(item.name) for item in measured)
    lines = [" " * width + "".join(f"{heading:>20}" for heading in columns)]
    for item in measured:
        cells = [_cell(getattr(item, name), getattr(reference, name)) for name in columns.values()]
        lines.append(f"{item.name:{width}}" + "".join(f"{cell:>20}" for cell in cells))
    lines.append(
        f"First tokens for a new and a repeated image, decoding, {workload.at_once} requests about "
        f"two images; medians of {workload.rounds} rounds; (ratio to {reference.name})."
    )
    return "\n".join(lines)


def _cell(value: float | None, reference: float | None) -> str:
    if value is None:
        return "-"
    text = f"{value:.1f}" if value >= 10 else f"{value:.4f}"
    ratio = _ratio(value, reference)
    return text if ratio is None else f"{text} ({ratio:.2f})"


def as_dict(measured: Sequence[Measurements], workload: Workload) -> dict[str, Any]:
    """Return the workload, and the measurements with their ratios, for a JSON line."""
    reference = _reference(measured)
    rows = []
    for item in measured:
        row: dict[str, object] = {"name": item.name}
        for name in _columns(workload).values():
            value = getattr(item, name)
            row[name] = _rounded(value)
            row[f"{name}_ratio"] = _rounded(_ratio(value, getattr(reference, name)))
        rows.append(row)
    return {"workload": asdict(workload), "reference": reference.name, "measured": rows}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def check_plot(path: Path, extra: str = "bench") -> None:
    """Check, before anything is measured, that a plot can be written.

    Args:
        path: Of the plot.
        extra: The one that has matplotlib for the caller's command.

    Raises:
        RequestError: No such folder, or an unknown image format.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise RequestError(f"--plot {path} is not possible.", "Name a .png, .svg or .pdf.")
    if not path.parent.is_dir():
        raise RequestError(f"There is no folder {str(path.parent)!r} for the plot.", "Make it.")
    require("matplotlib", extra=extra)


def save_plot(figure: Figure, path: Path) -> None:
    """Write a figure of matplotlib.

    Raises:
        RequestError: It cannot be written, as on a full disk.
    """
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise RequestError(
            f"The plot {path} cannot be written: {error.strerror or error}.",
            "Name another place with --plot.",
        ) from error


def plot(measured: Sequence[Measurements], workload: Workload, path: Path) -> None:
    """Write a plot with a panel for each column and a bar for each contender."""
    from matplotlib.figure import Figure  # not pyplot, which would look for a screen

    columns = _columns(workload)
    figure = Figure(figsize=(3 * len(columns), 1.6 + 0.4 * len(measured)), layout="constrained")
    contenders = [item.name for item in measured]
    for place, (heading, name) in enumerate(columns.items(), start=1):
        axes = figure.add_subplot(1, len(columns), place)
        values = [getattr(item, name) for item in measured]
        bars = axes.barh(contenders, [math.nan if value is None else value for value in values])
        axes.bar_label(bars, fmt="%.3g", padding=2)  # no label for NaN
        axes.set_title(f"{heading} ({'more' if heading == 'tokens/s' else 'less'} is better)")
        axes.title.set_fontsize(8)
        axes.margins(x=0.25)
        axes.set_xlim(left=0)
        axes.set_ylim(len(measured) - 0.4, -0.6)  # a row each, also where the bar is missing
        if place > 1:
            axes.set_yticks([])
    save_plot(figure, path)
