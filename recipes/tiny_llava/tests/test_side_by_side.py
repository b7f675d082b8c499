"""Stages that train side by side end with the command that wanted them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llava_tools.errors import TrainingError
from recipes.tiny_llava.tiny import side_by_side

ROOT = Path(__file__).resolve().parents[3]
STARTS = "from recipes.tiny_llava.tests.test_side_by_side import never_ends, side_by_side\n"
STARTS += "if __name__ == '__main__': side_by_side([(never_ends,)])"


def never_ends() -> None:
    """Say that it runs, and wait for what does not come."""
    sys.stdout.write("runs\n")
    sys.stdout.flush()
    threading.Event().wait()


def leave(path: Path, text: str) -> None:
    """Write ``text``, or fail if there is none."""
    if not text:
        sys.exit(3)
    path.write_text(text)


@pytest.mark.slow
def test_jobs_end_when_their_command_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "starts.py"
    script.write_text(STARTS)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "runs\n"
    command.kill()
    rest, _ = command.communicate(timeout=120)  # the pipe ends once nobody holds it any more
    assert rest == ""


@pytest.mark.slow
def test_each_job_runs_and_a_failed_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="A stage failed"):
        side_by_side([(leave, tmp_path / "a", "done"), (leave, tmp_path / "b", "")])
    assert (tmp_path / "a").read_text() == "done"
    assert not (tmp_path / "b").exists()
