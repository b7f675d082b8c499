"""An evaluation as a table beside the published figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llava_tools.errors import escape_line
from llava_tools.evaluation.evaluate import has_data
from llava_tools.evaluation.result import Evaluation, TaskResult
from llava_tools.evaluation.task import Task

_HEADINGS = ("benchmark", "this run", "samples", "LLaVA 1.5 7B", "13B", "figure")
_SCORED_BY = {"rule": "a rule, here", "server": "a server", "judge": "a judge"}


def table(evaluation: Evaluation) -> str:
    """Return a row for each benchmark, then what a reader of the figures must know."""
    model = escape_line(", ".join(f"{value}" for value in evaluation.manifest.model.values()))
    rows = [_HEADINGS, *map(_row, evaluation.results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [f"model: {model}", ""] + [_join(row, widths) for row in rows]
    notes = [f"{item.task.title}: {note}" for item in evaluation.results for note in item.notes]
    notes += [
        f"{task.title}: no data; they are at {task.source.url} ({task.source.size})"
        for task in evaluation.missing
    ]
    return "\n".join([*lines, "", *notes] if notes else lines)


def _row(result: TaskResult) -> tuple[str, ...]:
    task, score = result.task, result.score
    value = f"needs {result.needs}" if score is None else f"{score.value:.1f}"
    samples = f"{result.samples:,}"
    if result.is_limited:
        samples += f" of {result.total:,} (limited)"
    low, high = task.published
    return task.title, value, samples, f"{low:.1f}", f"{high:.1f}", task.metric


def _join(row: Sequence[str], widths: Sequence[int]) -> str:
    """Join the cells of a row: names to the left, numbers to the right."""
    cells = [
        cell.ljust(width) if column in (0, len(row) - 1) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def catalog(tasks: Sequence[Task], data: Path | None = None) -> str:
    """Return where the data sets of benchmarks are to be had, and where their files belong.

    Args:
        tasks: The benchmarks.
        data: The data directory, to say which files are there; None for none.
    """
    return "\n\n".join(_describe(task, data) for task in tasks)


def _describe(task: Task, data: Path | None) -> str:
    low, high = task.published
    folder = Path("DIR" if data is None else data) / task.folder
    places = [folder / name for name in task.source.all_files]
    width = max(len(str(place)) for place in places)
    lines = [
        f"{task.name}: {task.title}",
        f"  published: {low:.1f} (7B), {high:.1f} (13B); {task.metric}; scored by "
        f"{_SCORED_BY[task.scored_by]}",
        f"  data: {task.source.url} ({task.source.size}; {task.source.licence})",
    ]
    if data is not None and not has_data(task, data):
        lines.append("  not here yet")
    for place, (name, what) in zip(places, task.source.all_files.items(), strict=True):
        here = "" if data is None or (data / task.folder / name).exists() else " (missing)"
        lines.append(f"  {place!s:{width}}  {what}{here}")
    return "\n".join(lines)


def catalog_as_dict(tasks: Sequence[Task]) -> dict[str, object]:
    """Return the same for JSON, by the names of the benchmarks."""
    return {
        task.name: {
            "title": task.title,
            "metric": task.metric,
            "published": dict(zip(("7b", "13b"), task.published, strict=True)),
            "scored_by": task.scored_by,
            "url": task.source.url,
            "size": task.source.size,
            "licence": task.source.licence,
            "folder": task.folder,
            "files": task.source.all_files,
        }
        for task in tasks
    }
