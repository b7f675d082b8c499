"""Continue the eye and the language model on the wide world, from checkpoints of another run.

``python -m llava_tools.train.widen --work DIR eye --from EYE.pt --minutes N`` and the same with
``language`` read another run's checkpoint once and then keep their own, ``DIR/eye.pt`` and
``DIR/language.pt``; ``tune`` joins these two, and ``export --out FOLDER`` writes the model's files.
The same command after a kill goes on where it was. ``DIR`` has to hold the checkpoints' tokenizer.
``begin --from FOLDER`` makes such checkpoints, and the tokenizer, of a model's files, which
``tune`` also goes on from where neither stage was continued; ``keep --out FOLDER`` copies those of
``DIR`` to keep, in half their size.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from . import tiny
from .begin import begin, keep
from .export import export


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Continue training on the wide world.")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    stages = parser.add_subparsers(dest="stage", required=True)
    for stage in ("eye", "language", "tune"):
        trained = stages.add_parser(stage)
        trained.add_argument("--minutes", type=float, required=True)
        trained.add_argument("--cores", type=int, default=1, help="processes (1)")
        if stage != "tune":
            trained.add_argument(
                "--from", dest="begun", type=Path, required=True, help="checkpoint"
            )
    for stage, what in (("export", "the model's files"), ("keep", "checkpoints to keep")):
        written = stages.add_parser(stage)
        written.add_argument("--out", type=Path, required=True, help=f"folder for {what}")
    opened = stages.add_parser("begin")
    opened.add_argument("--from", dest="begun", type=Path, required=True, help="model's folder")
    options = parser.parse_args(arguments)
    work: Path = options.work
    if options.stage == "begin":
        begin(options.begun, work)
        return
    if options.stage == "keep":
        keep(work, options.out)
        return
    if options.stage == "export":
        export(tiny.finished(work), tiny.ready_tokenizer(work), options.out)
        return
    minutes, size = options.minutes, options.cores
    if options.stage == "tune":
        tiny.as_team(size, work, tiny.run_tune, work, minutes)
        return
    widened: tiny.Widen = tiny.widen_eye if options.stage == "eye" else tiny.widen_language
    tiny.as_team(size, work, tiny.widen, widened, work, minutes, options.begun)


if __name__ == "__main__":
    main()
