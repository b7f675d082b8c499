"""Continue the eye and the language model on the wide world, from checkpoints of the narrow one.

``python -m llava_tools.train.widen --work DIR eye --from EYE.pt --minutes N`` and the same with
``language`` read another run's checkpoint once and then keep their own, ``DIR/eye.pt`` and
``DIR/language.pt``; ``tune`` joins these two, and ``export --out FOLDER`` writes the model's files.
The same command after a kill goes on where it was. ``DIR`` has to hold the checkpoints' tokenizer.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from .export import export
from .eye import train_eye
from .language import continue_language
from .team import Team
from .tiny import finished, joined, ready_tokenizer, side_by_side, start
from .tune import WIDE_TUNING, tune

WIDE = 0.5
"""Share of pictures that show writing, charts or pages."""
WIDE_EYE = 0.7
"""The same for the eye, which learns shapes sooner than characters."""


def widen_eye(work: Path, minutes: float, begun: Path, rank: int = 0, size: int = 1) -> None:
    """Continue an eye as one of ``size`` processes, checkpoints in ``work/eye.pt``."""
    torch.set_num_threads(1)
    team, path = Team.join(work / "meeting", rank, size), work / "eye.pt"
    train_eye(start(work), path, minutes, rate=2e-3, wide=WIDE_EYE, start=begun, team=team)


def widen_language(work: Path, minutes: float, begun: Path, rank: int = 0, size: int = 1) -> None:
    """Continue a language model as one of ``size`` processes, in ``work/language.pt``."""
    torch.set_num_threads(1)
    team = Team.join(work / "meeting", rank, size)
    model, tokenizer = start(work), ready_tokenizer(work)
    path = work / "language.pt"
    continue_language(model, tokenizer, path, minutes, begun, wide=WIDE, team=team)


def widen_tune(work: Path, minutes: float, rank: int = 0, size: int = 1) -> None:
    """Tune the two together on drawings as one of ``size`` processes, in ``work/tune.pt``."""
    torch.set_num_threads(1)
    team = Team.join(work / "meeting", rank, size)
    path = work / "tune.pt"
    tune(joined(work), ready_tokenizer(work), path, minutes, WIDE_TUNING, wide=WIDE, team=team)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Continue training on the wide world.")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    stages = parser.add_subparsers(dest="stage", required=True)
    for stage in ("eye", "language", "tune"):
        trained = stages.add_parser(stage)
        trained.add_argument("--minutes", type=float, required=True)
        if stage != "tune":
            trained.add_argument(
                "--from", dest="begun", type=Path, required=True, help="checkpoint"
            )
        trained.add_argument("--cores", type=int, default=1, help="processes (1)")
    written = stages.add_parser("export")
    written.add_argument("--out", type=Path, required=True, help="folder for the model's files")
    options = parser.parse_args(arguments)
    work: Path = options.work
    if options.stage == "export":
        export(finished(work), ready_tokenizer(work), options.out)
        return
    (work / "meeting").unlink(missing_ok=True)
    ranks = range(options.cores)
    if options.stage == "tune":
        jobs = [(widen_tune, work, options.minutes, rank, options.cores) for rank in ranks]
        side_by_side(jobs)
        return
    begun = options.begun
    widen = widen_eye if options.stage == "eye" else widen_language
    side_by_side([(widen, work, options.minutes, begun, rank, options.cores) for rank in ranks])


if __name__ == "__main__":
    main()
