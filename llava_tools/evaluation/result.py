"""What an evaluation found: `TaskResult` of each benchmark, `Evaluation` of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llava_tools.errors import LlavaToolsError
from llava_tools.evaluation.manifest import Manifest
from llava_tools.evaluation.task import Score, Task


@dataclass(frozen=True)
class TaskResult:
    """The result of a benchmark.

    Attributes:
        task: The benchmark.
        samples: Number of samples that were answered.
        total: Number of samples of the whole data set.
        score: The figure; None if a server or a judge has to find it.
        submission: The file for a server; None if there is none.
        judge: Name of the model that judged; None if none did.
    """

    task: Task
    samples: int
    total: int
    score: Score | None
    submission: Path | None = None
    judge: str | None = None

    @property
    def is_limited(self) -> bool:
        """Whether only a part of the data set was answered."""
        return self.samples < self.total

    @property
    def needs(self) -> str:
        """What the figure is still lacking; "" if it is there."""
        if self.score is not None:
            return ""
        return "a judge" if self.task.scored_by == "judge" else "a server"

    @property
    def notes(self) -> list[str]:
        """What a reader of the figure must know, a sentence each."""
        notes = list(self.score.notes) if self.score is not None else []
        if self.is_limited:
            notes.insert(
                0,
                f"limited to {self.samples:,} of {self.total:,} samples: not comparable with the "
                "published figures.",
            )
        if self.needs == "a judge":
            notes.append("needs a judge: run it again with --judge-url and --judge-model.")
        elif self.needs and self.submission is not None:
            notes.append(f"needs a server, which scores {self.submission}")
        elif self.needs:
            notes.append("needs a server: the files here have no truth to score by.")
        return notes

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        task, score = self.task, self.score
        return {
            "title": task.title,
            "metric": task.metric,
            "value": None if score is None else score.value,
            "parts": {} if score is None else dict(score.parts),
            "samples": self.samples,
            "total": self.total,
            "limited": self.is_limited,
            "scored_by": task.scored_by,
            "needs": self.needs,
            "judge": self.judge,
            "submission": None if self.submission is None else str(self.submission),
            "notes": self.notes,
            "published": dict(zip(("7b", "13b"), task.published, strict=True)),
        }


@dataclass(frozen=True)
class Evaluation:
    """The results of a run.

    Attributes:
        folder: The output folder.
        manifest: That of the folder.
        results: Of the benchmarks that came to their end, in the paper's order.
        missing: Benchmarks that were left out, since their data are not there.
        failed: Why others came to no end, by their names.
    """

    folder: Path
    manifest: Manifest
    results: tuple[TaskResult, ...]
    missing: tuple[Task, ...] = ()
    failed: Mapping[str, LlavaToolsError] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "model": dict(self.manifest.model),
            "tasks": {result.task.name: result.as_dict() for result in self.results},
            "missing": {task.name: task.source.url for task in self.missing},
            "failed": {name: str(error) for name, error in self.failed.items()},
            "manifest": asdict(self.manifest),
        }
