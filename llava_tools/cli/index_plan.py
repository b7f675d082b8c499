"""`llava-tools index` before and while it works: its plan, the confirmation, the progress bar."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llava_tools.cli.output import is_quiet, write_error
from llava_tools.errors import require

if TYPE_CHECKING:
    from llava_tools.retrieval import IndexPlan, IndexProgress

#: Seconds of work from which a person at a terminal is asked first.
LONG = 60.0


def describe_plan(plan: IndexPlan) -> list[str]:
    """Return a plan as lines of text."""
    files = f"{plan.documents} documents to index, {plan.unchanged} unchanged"
    lines = [f"{files}, {len(plan.skipped)} skipped"]
    if plan.pages:
        images = ", with the images of its pages" if plan.keeps_images else ""
        lines += [
            f"{plan.pages} pages: about {format_seconds(plan.seconds)}, and about "
            f"{plan.bytes / 1e6:,.1f} MB of index{images}",
            f"vision tower: {plan.clip}, of the model {plan.model}",
        ]
    return lines


def warn_of_toy(plan: IndexPlan) -> None:
    """Warn of the embedded model's vision tower, unless there is nothing to encode."""
    if plan.is_toy and plan.pages and not is_quiet():
        write_error(
            "warning: this vision tower, of the embedded model, knows drawn scenes only. Pages "
            "are found by their words, and photos and scans hardly ever. For real documents "
            "choose --model 7b; to change it later, all pages are indexed again."
        )


def confirm(plan: IndexPlan) -> bool:
    """Ask a person at a terminal whether to begin, if it takes long or a new index is a toy's."""
    is_long = plan.seconds > LONG or (plan.is_toy and plan.versions is None and plan.pages > 0)
    is_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    if not is_long or not is_terminal:
        return True
    sys.stderr.write("Begin? [Y/n] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")


def format_seconds(seconds: float) -> str:
    """Return a time as a person reads it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"


@contextmanager
def show_progress() -> Iterator[Any]:
    """Show pages, time left, and pages per second of each step, if stderr is a terminal."""
    require("tqdm", extra="documents")
    from tqdm import tqdm

    with tqdm(unit="page", unit_scale=False, disable=is_quiet() or None, desc="indexing") as bar:

        def show(progress: IndexProgress) -> None:
            bar.total = progress.total
            bar.update(progress.done - bar.n)
            left = progress.total - progress.done
            bar.set_postfix_str(
                ", ".join(
                    f"{name} {rate:.3g}/s ({format_seconds(left / rate)} left)"
                    for name, rate in vars(progress.rates).items()
                    if rate
                )
                if progress.step == "pages"
                else "search indexes"
            )

        yield show
