"""The worst PDF pages stay within the limits of the child that draws them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llava_tools.retrieval import pdf_process
from tests.hardening.documents import attack
from tests.retrieval.hostile_pdfs import HOSTILE
from tests.retrieval.odd_pdfs import ODD

ROOT = Path(__file__).parents[2]

#: Reads the first page of the file that it is called with; prints the seconds of processor time and
#: the MiB that its child took, and how it ended.
READ = """
import json, resource, sys
from llava_tools.retrieval import Skipped, load_pages, pdf_process
ends = [item.reason if isinstance(item, Skipped) else "" for item in load_pages([sys.argv[1]])]
pdf_process.close_idle_processes()
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, ends[-1]]))
"""
#: Seconds and MiB that the child takes to start, and to notice that a limit is exceeded.
START_SECONDS, START_MEMORY = 2.0, 150
#: They end as "operators" does, after all of the 30 seconds.
AS_LONG = {"pattern", "a function"}


def test_some_mutated_pdfs_are_read_some_refused_and_some_exceed_limits() -> None:
    outcomes = attack(60, 2).outcomes
    assert outcomes["read"] > 5
    assert outcomes["refused"] > 5
    assert outcomes["limits"] >= 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts the child's memory in KiB")
@pytest.mark.parametrize("kind", sorted((HOSTILE | ODD).keys() - AS_LONG))
def test_the_worst_pdf_page_takes_no_more_than_its_limits(kind: str, tmp_path: Path) -> None:
    path = (HOSTILE | ODD)[kind](tmp_path / "worst.pdf")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, mebibytes, reason = json.loads(done.stdout)
    assert seconds <= pdf_process.MAX_SECONDS + START_SECONDS
    assert mebibytes <= (pdf_process.MAX_MEMORY >> 20) + START_MEMORY
    if kind in HOSTILE:
        assert "cannot be drawn: it " in reason
