"""Answers a data set until it is killed: `python -m tests.evaluation.killed_run DATA LOG`."""

from __future__ import annotations

import sys
from pathlib import Path

from llava_tools.evaluation.answer_log import AnswerLog
from llava_tools.evaluation.runner import answer_samples
from llava_tools.testing import ScriptedBackend
from tests.evaluation.made_tasks import NumberTask, right_answer


def main(data: Path, log: Path) -> None:
    """Answer, and print a line for each answer that is on disk."""
    samples = NumberTask().load(data)
    with AnswerLog(log, {sample.id for sample in samples}) as answers:
        answer_samples(
            ScriptedBackend(right_answer),
            samples,
            answers,
            at_once=4,
            progress=lambda done, total: sys.stdout.write(f"{done}\n") and sys.stdout.flush(),
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
