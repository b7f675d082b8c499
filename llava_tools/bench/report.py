"""What was measured, as a table, a plot and a JSON object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from llava_tools.bench.workload import Figures, Plan
from llava_tools.errors import RequestError, need

_Read = Callable[[Figures], float | None]


def columns(plan: Plan) -> dict[str, _Read]:
    """Return what is shown of everybody, by heading."""
    return {
        "new picture, s": lambda figures: figures.new_image_s,
        "follow-up, s": lambda figures: figures.follow_up_s,
        "tokens/s": lambda figures: figures.tokens_per_s,
        f"{plan.at_once} at once, s": lambda figures: figures.at_once_s,
    }


def reference(measured: Sequence[Figures]) -> Figures:
    """Return whose figures are 1 in the ratios: `generate`'s where it was measured, else the first.

    Args:
        measured: At least one.
    """
    return next((figures for figures in measured if figures.name == "generate"), measured[0])


def ratio(value: float | None, base: float | None) -> float | None:
    """Return a figure as a multiple of another; None where one of them was not measured."""
    return value / base if value is not None and base else None


def table(measured: Sequence[Figures], plan: Plan) -> str:
    """Lay the figures out for a terminal, each with its ratio to the reference's."""
    base = reference(measured)
    shown = columns(plan)
    wide = max(len(figures.name) for figures in measured)
    lines = [" " * wide + "".join(f"{heading:>20}" for heading in shown)]
    for figures in measured:
        cells = [_cell(read(figures), read(base)) for read in shown.values()]
        lines.append(f"{figures.name:{wide}}" + "".join(f"{cell:>20}" for cell in cells))
    lines.append(
        f"First tokens of a new and of a known picture, decoding, {plan.at_once} requests about "
        f"two pictures; medians of {plan.rounds}; (to {base.name})."
    )
    return "\n".join(lines)


def _cell(value: float | None, base: float | None) -> str:
    if value is None:
        return "-"
    told = f"{value:.1f}" if value >= 10 else f"{value:.4f}"
    times = ratio(value, base)
    return told if times is None else f"{told} ({times:.2f})"


def as_dict(measured: Sequence[Figures], plan: Plan) -> dict[str, Any]:
    """Return everything for a JSON line."""
    base = reference(measured)
    names = [item.name for item in fields(Figures) if item.name != "name"]

    def told(figures: Figures) -> dict[str, object]:
        found: dict[str, object] = {"name": figures.name}
        for name in names:
            value, other = getattr(figures, name), getattr(base, name)
            found[name] = _rounded(value)
            found[f"{name}_ratio"] = _rounded(ratio(value, other))
        return found

    return {
        "plan": asdict(plan),
        "reference": base.name,
        "measured": [told(figures) for figures in measured],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def check_plot(path: Path) -> None:
    """Make sure, before anything is measured, that a plot can be written.

    Raises:
        RequestError: There is no such folder, or no such kind of image.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise RequestError(f"--plot {path} is not possible.", "Name a .png, .svg or .pdf.")
    if not path.parent.is_dir():
        raise RequestError(f"There is no folder {str(path.parent)!r} for the plot.", "Make it.")
    need("matplotlib", extra="bench")


def plot(measured: Sequence[Figures], plan: Plan, path: Path) -> None:
    """Write an image of the figures: a panel a column, a bar for everybody.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    need("matplotlib", extra="bench")
    from matplotlib.figure import Figure  # not pyplot, which would look for a screen

    shown = columns(plan)
    figure = Figure(figsize=(3 * len(shown), 1.6 + 0.4 * len(measured)), layout="constrained")
    names = [figures.name for figures in measured]
    for place, (heading, read) in enumerate(shown.items(), start=1):
        axes = figure.add_subplot(1, len(shown), place)
        bars = axes.barh(names, [read(figures) or 0.0 for figures in measured])
        axes.bar_label(bars, [f"{read(figures) or 0.0:.3g}" for figures in measured], padding=2)
        axes.set_title(f"{heading} ({'more' if heading == 'tokens/s' else 'less'} is better)")
        axes.title.set_fontsize(8)
        axes.margins(x=0.25)
        axes.invert_yaxis()
        if place > 1:
            axes.set_yticks([])
    figure.savefig(path, dpi=150)
