"""Continue the eye and the language model on the wide world, from checkpoints of the narrow one.

``python -m llava_tools.train.widen eye --from EYE.pt --work DIR --minutes N`` and the same with
``language`` read another run's checkpoint once and then keep their own, ``DIR/eye.pt`` and
``DIR/language.pt``: the same command after a kill goes on where it was, and
:mod:`~llava_tools.train.tiny` finds them there for tuning. ``DIR`` has to hold the tokenizer of the
checkpoint.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from .conversations import Lesson
from .eye import train_eye
from .language import continue_language
from .team import Team
from .tiny import ready_tokenizer, side_by_side, start

WIDE = 0.5
"""Share of pictures that show writing, charts or pages."""
LESSON = Lesson(spatial=0.1, more=0.15, unseen=3, length=420)


def widen_eye(work: Path, minutes: float, begun: Path, rate: float = 2e-3) -> None:
    """Continue an eye on one thread, checkpoints in ``work/eye.pt``."""
    torch.set_num_threads(1)
    train_eye(start(work), work / "eye.pt", minutes, rate=rate, wide=WIDE, start=begun)


def widen_language(
    work: Path, minutes: float, begun: Path, rank: int = 0, size: int = 1, rate: float = 8e-4
) -> None:
    """Continue a language model as one of ``size`` processes, in ``work/language.pt``."""
    torch.set_num_threads(1)
    team = Team.join(work / "meeting", rank, size)
    model, tokenizer = start(work), ready_tokenizer(work)
    path = work / "language.pt"
    continue_language(
        model, tokenizer, path, minutes, begun, LESSON, wide=WIDE, rate=rate, team=team
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Continue training on the wide world.")
    parser.add_argument("stage", choices=("eye", "language"))
    parser.add_argument("--from", dest="begun", type=Path, required=True, help="a checkpoint")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--cores", type=int, default=1, help="processes for language (1)")
    options = parser.parse_args(arguments)
    if options.stage == "eye":
        widen_eye(options.work, options.minutes, options.begun)
        return
    (options.work / "meeting").unlink(missing_ok=True)
    jobs = [
        (widen_language, options.work, options.minutes, options.begun, rank, options.cores)
        for rank in range(options.cores)
    ]
    side_by_side(jobs)


if __name__ == "__main__":
    main()
