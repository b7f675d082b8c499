"""Everything in order: the command that trains, exports and examines the embedded model.

``python -m recipes.tiny_llava.tiny --out DIR --minutes N`` makes the tokenizer, trains the eye and
the language model side by side in a process of one thread each, goes on with the eye in two such
processes, since it learns to read more slowly, tunes both together in two, writes the model's
files to ``DIR`` and prints how it does. Checkpoints go to
``--work``; the same command after a kill goes on where it was.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import LlavaForConditionalGeneration

from llava_tools.errors import TrainingError
from llava_tools.finetune.loss_plot import plot_losses

from .architecture import new_model, tiny_config
from .checkpoint import TOLD, restore
from .evaluate import examine, table
from .export import export
from .eye import load_eye, train_eye
from .language import continue_language, train_language
from .projecting import finish_eye
from .team import Team
from .tokenizer import save_tokenizer, train_tokenizer
from .tune import WIDE_TUNING, tune

APART, EYE = 0.4, 0.2
"""Shares of the minutes for eye and language model side by side, and for the eye on both cores;
tuning has the rest."""
NARROW = 0.3
"""Share of each of the two in which there are only shapes, which have to be known for the rest."""
WIDE_EYE, WIDE_LANGUAGE, WIDE_TUNE = 0.6, 0.65, 0.6
"""Shares of pictures that show writing, charts or pages from then on."""

_QUIET = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "TOKENIZERS_PARALLELISM": "false"}


def ready_tokenizer(work: Path) -> Tokenizer:
    """The tokenizer in ``work``, trained first if it is not there yet."""
    if not (work / "tokenizer.json").exists():
        save_tokenizer(train_tokenizer(), work)
    return Tokenizer.from_file(str(work / "tokenizer.json"))


def start(work: Path) -> LlavaForConditionalGeneration:
    """The untrained model that every stage begins with."""
    return new_model(tiny_config(ready_tokenizer(work).get_vocab_size()), seed=1)


def run_eye(work: Path, minutes: float) -> None:
    """Train the eye on one thread, checkpoints in ``work/eye-narrow.pt`` and ``eye-wide.pt``."""
    torch.set_num_threads(1)
    begun = work / "eye-narrow.pt"
    train_eye(start(work), begun, minutes * NARROW)
    _train_wide_eye(start(work), work / "eye-wide.pt", minutes * (1 - NARROW), begun)


def widen_eye(work: Path, minutes: float, begun: Path, rank: int, size: int) -> None:
    """Continue an eye as one of ``size`` processes, checkpoints in ``work/eye.pt``."""
    torch.set_num_threads(1)
    team, path, model = Team.join(work / "meeting", rank, size), work / "eye.pt", start(work)
    _train_wide_eye(model, path, minutes, begun, team)
    if team.leads:
        finish_eye(model, path, WIDE_EYE, pictures=min(3200, 40 + round(80 * minutes)))


def _train_wide_eye(
    model: LlavaForConditionalGeneration,
    path: Path,
    minutes: float,
    begun: Path,
    team: Team | None = None,
) -> None:
    train_eye(model, path, minutes, rate=2e-3, wide=WIDE_EYE, start=begun, team=team)


def run_language(work: Path, minutes: float) -> None:
    """Train the language model on one thread; ``work/language-narrow.pt``, ``language.pt``."""
    torch.set_num_threads(1)
    tokenizer, begun = ready_tokenizer(work), work / "language-narrow.pt"
    train_language(start(work), tokenizer, begun, minutes * NARROW)
    minutes *= 1 - NARROW
    continue_language(
        start(work),
        tokenizer,
        work / "language.pt",
        minutes,
        begun,
        wide=WIDE_LANGUAGE,
        aloud=min(60, 2 + round(minutes)),
    )


def joined(work: Path) -> LlavaForConditionalGeneration:
    """The model with the eye and the language model of their latest checkpoints."""
    model = start(work)
    load_eye(model, torch.load(work / "eye.pt", weights_only=True)["average"])
    spoken = torch.load(work / "language.pt", weights_only=True)["weights"]
    restore(dict(model.model.language_model.named_parameters()), spoken)
    return model


def run_tune(work: Path, minutes: float, rank: int, size: int) -> None:
    """Tune the joined model as one of ``size`` processes, checkpoints in ``work/tune.pt``."""
    torch.set_num_threads(1)
    team, path = Team.join(work / "meeting", rank, size), work / "tune.pt"
    model, tokenizer = joined(work), ready_tokenizer(work)
    tune(model, tokenizer, path, minutes, WIDE_TUNING, wide=WIDE_TUNE, team=team)


def finished(work: Path) -> LlavaForConditionalGeneration:
    """The model as tuned so far."""
    model = joined(work)
    tuned = torch.load(work / "tune.pt", weights_only=True)["weights"]
    parameters = dict(model.named_parameters())
    restore({name: parameters[name] for name in tuned}, tuned)
    return model


def train(out: Path, work: Path, minutes: float) -> None:
    """All stages within about ``minutes`` on two free cores; the model's files go to ``out``."""
    work.mkdir(parents=True, exist_ok=True)
    ready_tokenizer(work)
    apart, eye = minutes * APART, minutes * EYE
    side_by_side([(run_eye, work, apart), (run_language, work, apart)])
    as_team(2, work, widen_eye, work, eye, work / "eye-wide.pt")
    as_team(2, work, run_tune, work, minutes - apart - eye)
    export(finished(work), ready_tokenizer(work), out)


def as_team(size: int, work: Path, job: Callable[..., None], *rest: Any) -> None:
    """Run a job in ``size`` processes that meet in ``work``, each told its rank and the size."""
    (work / "meeting").unlink(missing_ok=True)
    side_by_side([(job, *rest, rank, size) for rank in range(size)])


def side_by_side(jobs: Sequence[tuple[Callable[..., None], *tuple[Any, ...]]]) -> None:
    """Run each job in a process of its own, which ends with this one; idle threads sleep."""
    os.environ.update(_QUIET)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_run, args=job) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise TrainingError("A stage failed; its error is above.", "The same command goes on.")


def _run(job: Callable[..., None], *rest: Any) -> None:
    """Run the job until it is over, or until the process that wanted it was killed.

    A job that went on alone would write its checkpoints beside those of the command's next try.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("Jobs side by side run in processes of their own.")
    sentinel = parent.sentinel

    def follow() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    job(*rest)


def reproduce(out: Path, work: Path, minutes: float, each: int) -> str:
    """Train as :func:`train` does, and say how the model answers ``each`` questions a kind.

    ``work`` also gets ``losses.png``, of the stages that lasted long enough to tell any, and
    ``answers.png``, a sheet of right and wrong answers.
    """
    train(out, work, minutes)
    stages = {
        name: torch.load(work / f"{name}.pt", weights_only=True)["losses"]
        for name in ("eye", "language", "tune")
    }
    if trained := {name: losses for name, losses in stages.items() if losses}:
        curves = {
            name: {TOLD * number: loss for number, loss in enumerate(losses, start=1)}
            for name, losses in trained.items()
        }
        plot_losses(curves, work / "losses.png")
    return table(examine(out, each, shown=work / "answers.png"))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.tiny_llava.tiny", description="Train the embedded model."
    )
    parser.add_argument("--out", type=Path, default=Path("tiny"), help="for its files (./tiny)")
    parser.add_argument("--minutes", type=float, default=150, help="on two free cores (150)")
    parser.add_argument("--work", type=Path, help="for checkpoints (OUT.work)")
    parser.add_argument("--each", type=int, default=200, help="questions a kind to examine (200)")
    options = parser.parse_args(argv)
    work = options.work or options.out.with_name(options.out.name + ".work")
    print(reproduce(options.out, work, options.minutes, options.each))


if __name__ == "__main__":
    main()
