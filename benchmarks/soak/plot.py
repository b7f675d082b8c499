"""The plot of a run: memory, threads and descriptors, KV blocks, and work, over the minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.soak.verdict import SETTLING
from llava_tools.bench.report import save_plot


def plot(samples: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the plot; `path` is a .png, .svg or .pdf."""
    from matplotlib.figure import Figure  # not pyplot, which would look for a screen

    lines = [line for line in samples if line["kind"] == "sample"]
    idle = [line for line in lines if line["idle"]]
    names = list(lines[0]["processes"])
    figure = Figure(figsize=(10, 11), layout="constrained")
    panels = figure.subplots(5, sharex=True)
    for name in names:
        _draw(panels[0], lines, _value(name, "rss_mb"), f"{name}, RSS")
        _draw(panels[0], lines, _value(name, "uss_mb"), f"{name}, USS", "--")
        _draw(panels[1], idle, _value(name, "threads"), f"{name}, threads")
        _draw(panels[1], idle, _value(name, "python_threads"), f"{name}, of Python", ":")
        _draw(panels[1], idle, _value(name, "descriptors"), f"{name}, descriptors", "--")
        _draw(panels[2], lines, _value(name, "kv_blocks_used"), f"{name}, at any time", ":")
        _draw(panels[2], idle, _value(name, "kv_blocks_used"), f"{name}, after a round", "o", 2)
        _draw(panels[3], idle, _value(name, "kv_blocks_cached"), f"{name}, cached KV blocks")
        _draw(panels[3], idle, _value(name, "cached_images"), f"{name}, cached images", "--")
    _draw(panels[4], idle, lambda line: sum(_main(line)["work"].values()), "work done")
    errors = "expected_errors"
    _draw(panels[4], idle, lambda line: sum(_main(line)[errors].values()), "expected errors")
    titles = (
        "Memory, MB",
        "Threads and descriptors after each round",
        "KV blocks in use",
        "Caches after each round",
        "Work",
    )
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=9)
        axes.set_ylim(bottom=0)
        axes.axvline(SETTLING * lines[-1]["seconds"] / 60, color="grey", linewidth=0.7)
        axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    panels[-1].set_xlabel("minutes; fits begin at the grey line")
    save_plot(figure, path)


def _draw(
    axes: Any,
    lines: Sequence[dict[str, Any]],
    value: Callable[[dict[str, Any]], float],
    label: str,
    style: str = "-",
    size: float = 1,
) -> None:
    minutes = [line["seconds"] / 60 for line in lines]
    values = [value(line) for line in lines]
    axes.plot(minutes, values, style, label=label, linewidth=1, markersize=size)


def _value(name: str, field: str) -> Callable[[dict[str, Any]], float]:
    return lambda line: float(line["processes"][name][field])


def _main(line: dict[str, Any]) -> dict[str, Any]:
    main: dict[str, Any] = line["processes"]["main"]
    return main
