"""Options of an evaluation, checked before anything is read or loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llava_tools.errors import RequestError, check_count
from llava_tools.evaluation.catalog import ALL, parse_names
from llava_tools.evaluation.runner import AT_ONCE
from llava_tools.options import EngineOptions


@dataclass(frozen=True)
class EvalOptions:
    """Options of an evaluation.

    Attributes:
        tasks: Names of benchmarks, separated by commas; `all` takes those whose data are there.
        data: Folder with a folder for each data set, like LLaVA's `playground/data/eval`. None, for
            answers that are only scored, takes where they were made.
        out: Folder of answers, scores and submissions; a run that was killed resumes in it. None
            takes `eval-results/` and the model's name.
        limit: Most samples of each benchmark; None for all. See `selection.limit_samples`.
        at_once: Images about which questions are in flight at once, 1 to 256.
        judge_url: An OpenAI-compatible server with the judge of LLaVA-Bench and MM-Vet.
        judge_model: Its name for the judge; None if it serves only one model.

    Raises:
        RequestError: An impossible value.
    """

    tasks: str = ALL
    data: Path | None = None
    out: Path | None = None
    limit: int | None = None
    at_once: int = AT_ONCE
    judge_url: str | None = None
    judge_model: str | None = None

    def __post_init__(self) -> None:
        parse_names(self.tasks)
        if self.limit is not None:
            check_count("limit", self.limit)
        check_count("at_once", self.at_once)
        most = EngineOptions.max_concurrent_requests
        if self.at_once > most:
            raise RequestError(f"at_once={self.at_once} is not possible.", f"Use at most {most}.")
        if self.judge_url is None and self.judge_model is not None:
            raise RequestError(
                f"judge_model={self.judge_model!r} has no server.", "Set judge_url, too."
            )

    @property
    def names(self) -> list[str]:
        """The names of the benchmarks."""
        return parse_names(self.tasks)

    @property
    def takes_all(self) -> bool:
        """Whether benchmarks without data are left out instead of being an error."""
        return self.tasks.strip() == ALL
