"""`llava-tools eval`: LLaVA 1.5's twelve benchmarks, beside the published figures."""

from __future__ import annotations

import argparse
import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from llava_tools.bench.report import check_plot
from llava_tools.cli.index_plan import format_seconds
from llava_tools.cli.options import ENGINE_HELP, add_command, add_flags, get_flags
from llava_tools.cli.output import (
    SOME_SKIPPED,
    is_quiet,
    write,
    write_error,
    write_json,
    write_note,
)
from llava_tools.errors import EngineError, RequestError
from llava_tools.evaluation import radar, report
from llava_tools.evaluation.catalog import find_tasks
from llava_tools.evaluation.evaluate import evaluate, find_data, rescore
from llava_tools.evaluation.options import EvalOptions
from llava_tools.evaluation.result import Evaluation
from llava_tools.evaluation.task import Judge, Task
from llava_tools.model import Llava
from llava_tools.options import TINY_NOTICE, EngineOptions

_RESULTS = Path("eval-results")
#: Flags of options that `--score` heeds.
_SCORE_FLAGS = {"tasks", "data", "judge_url", "judge_model"}


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    parser = add_command(
        commands,
        "eval",
        _eval,
        "run LLaVA 1.5's twelve benchmarks",
        (
            "eval --list",
            "eval --data playground/data/eval --model 7b --plot radar.png",
            "eval --data playground/data/eval --tasks pope,gqa --limit 500 --model 7b",
            "eval --data playground/data/eval --base-url http://localhost:8000/v1",
            "eval --score eval-results/llava-hf-llava-1.5-7b-hf "
            "--judge-url https://api.openai.com/v1 --judge-model gpt-4o",
        ),
        "Answer the questions of LLaVA 1.5's benchmarks with its own prompts, score them by the "
        "official rules, and show the figures beside the published ones. After a kill, the same "
        "command resumes.",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--list", action="store_true", help="where data sets are to be had, and their places"
    )
    mode.add_argument(
        "--score",
        type=Path,
        metavar="DIR",
        help="score the answers in this output folder again, without a model",
    )
    add_flags(
        parser,
        EvalOptions,
        tasks="benchmarks, separated by commas; all: those whose data are there",
        data="folder of the data sets, like LLaVA's playground/data/eval",
        out="folder of answers and results (eval-results/MODEL)",
        limit="most samples of each benchmark, from images spread evenly over it",
        at_once="images about which questions are in flight at once",
        judge_url="OpenAI-compatible server with the judge of LLaVA-Bench and MM-Vet; its key, if "
        "any, comes from LLAVA_JUDGE_API_KEY",
        judge_model="its name for the judge",
    )
    add_flags(
        parser,
        EngineOptions,
        model="tiny, 0.5b, 7b, 13b, a hub id or a folder",
        base_url="evaluate what an OpenAI-compatible server runs; its key, if any, comes from "
        "LLAVA_API_KEY",
        **ENGINE_HELP,
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a .png, .svg or .pdf")
    parser.add_argument("--json", action="store_true", help="the results, or the list, as JSON")


def _eval(arguments: argparse.Namespace) -> int:
    options = EvalOptions(**get_flags(arguments, EvalOptions))
    if arguments.list:
        return _list(arguments, options)
    if arguments.plot is not None:
        check_plot(arguments.plot, extra="eval")
    with ExitStack() as stack:
        if arguments.score is not None:
            _check_score_flags(arguments)
            judge = _connect(options, stack)
            progress = stack.enter_context(_Progress())
            result = rescore(options, arguments.score, judge, progress)
        else:
            result = _evaluate(arguments, options, stack)
    return _report(result, arguments)


def _check_score_flags(arguments: argparse.Namespace) -> None:
    """Refuse flags that `--score` would leave without effect."""
    settings = get_flags(arguments, EvalOptions) | get_flags(arguments, EngineOptions)
    if foreign := settings.keys() - _SCORE_FLAGS:
        raise RequestError(
            f"--{min(foreign).replace('_', '-')} is not possible with --score, which scores what "
            "is in its folder.",
            "Leave it out, or leave out --score.",
        )


def _list(arguments: argparse.Namespace, options: EvalOptions) -> int:
    tasks = find_tasks(options.names)
    if arguments.json:
        write_json(report.catalog_as_dict(tasks))
    else:
        write(report.catalog(tasks, options.data))
    return 0


def _evaluate(arguments: argparse.Namespace, options: EvalOptions, stack: ExitStack) -> Evaluation:
    """Check what needs no model, load it, and evaluate."""
    tasks, _ = find_data(options)
    if arguments.plot is not None:
        radar.check_axes(len(tasks))
    judge = _connect(options, stack)
    model = stack.enter_context(Llava(**get_flags(arguments, EngineOptions)))
    backend = model.backend
    if model.options.model == "tiny" and model.options.base_url is None:
        write_note(TINY_NOTICE)
    folder = options.out or _RESULTS / re.sub(r"[^\w.-]+", "-", backend.model_name).strip("-.")
    try:
        with _Progress() as progress:
            return evaluate(options, model.options, backend, folder, judge, progress)
    except (KeyboardInterrupt, EngineError):
        write_note(f"the answers so far are in {folder}; the same command goes on from there")
        raise


def _connect(options: EvalOptions, stack: ExitStack) -> Judge | None:
    """Return the judge, which `stack` closes; None if there is none."""
    if options.judge_url is None:
        return None
    from llava_tools.evaluation.judging.judge import ServerJudge  # needs an extra

    return stack.enter_context(ServerJudge(options.judge_url, options.judge_model))


def _report(evaluation: Evaluation, arguments: argparse.Namespace) -> int:
    """Print and plot the results; return the exit code."""
    if arguments.json:
        write_json(evaluation.as_dict())
    elif evaluation.results:
        write(report.table(evaluation))
    write_note(f"answers and results are in {evaluation.folder}")
    for name, error in evaluation.failed.items():
        write_error(f"error: {name}: {error}")
    if arguments.plot is not None:
        radar.plot(evaluation.results, evaluation.manifest.model["name"], arguments.plot)
    if evaluation.failed:
        engine = any(isinstance(error, EngineError) for error in evaluation.failed.values())
        return 1 if engine else 2
    return SOME_SKIPPED if evaluation.missing else 0


class _Progress:
    """Shows the samples of a benchmark and the time left, if stderr is a terminal."""

    def __init__(self) -> None:
        self._step: tuple[str, str] | None = None
        self._start = (0.0, 0)
        self._is_open = False  # whether a line has no end yet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End a line that an interrupt or a failure left open."""
        if self._is_open:
            sys.stderr.write("\n")

    def __call__(self, task: Task, step: str, done: int, total: int) -> None:
        """See `evaluate.Show`."""
        if not sys.stderr.isatty() or is_quiet():
            return
        now = time.monotonic()
        if self._step != (task.name, step):
            self._step, self._start = (task.name, step), (now, done)
        seconds, count = now - self._start[0], done - self._start[1]
        left = ""
        if count and done < total:
            left = f", {format_seconds((total - done) * seconds / count)} left"
        # The code at the end clears the rest of a longer line.
        sys.stderr.write(f"\r{task.name}: {done:,} of {total:,} {step}{left}\x1b[K")
        sys.stderr.write("\n" if done == total else "")
        self._is_open = done < total
        sys.stderr.flush()
