"""What an update reports: its progress, and its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llava_tools.retrieval.files import Skipped


@dataclass(frozen=True)
class StepRates:
    """Pages per second of each step, as if it ran alone; 0 before its first page.

    The steps overlap, so the slowest one decides how long an update takes.
    """

    render: float = 0.0
    encode: float = 0.0
    write: float = 0.0


@dataclass(frozen=True)
class IndexProgress:
    """Progress of an update.

    Attributes:
        done: Pages written in this run.
        total: Pages to write in this run.
        seconds: Since the first page was started.
        rates: Speed of rendering, encoding and writing.
        step: `pages`, or `search indexes` when all pages are written.
    """

    done: int
    total: int
    seconds: float
    rates: StepRates = StepRates()
    step: Literal["pages", "search indexes"] = "pages"

    @property
    def rate(self) -> float:
        """Pages per second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float:
        """Seconds until all pages are written, as fast as until now."""
        return (self.total - self.done) / self.rate if self.done else float("inf")


@dataclass(frozen=True)
class IndexReport:
    """Result of an update.

    Attributes:
        documents: Files in the index now.
        added: Pages that were encoded and written.
        unchanged: Files that were stored already.
        removed: Files that no longer exist or can no longer be used.
        skipped: Files that were left out, with the reasons.
        seconds: Time of the whole update.
    """

    documents: int
    added: int
    unchanged: int
    removed: int
    skipped: tuple[Skipped, ...]
    seconds: float
