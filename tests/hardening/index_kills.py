"""Writers of a page index that are killed: it stays whole, and the next update continues.

A process that has imported everything, and has opened no index yet, forks a writer for each kill.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from llava_tools.retrieval import PageIndex
from llava_tools.testing import ScriptedEmbedder
from tests.hardening.attack import Attack, Tally
from tests.retrieval.documents import write_long_pdf, write_pdf

ROOT = Path(__file__).parents[2]
#: The files, and how many pages each has.
PAGES = {"kept.pdf": 2, "long.pdf": 20, "changing.pdf": 3, "coming.pdf": 1}
#: A writer is killed after so many batches that it wrote, at most, and so many seconds more.
MOST_BATCHES, LONGEST = 20, 0.03

#: Forks a writer for each line of stdin, a folder: it adds, changes, removes and optimises without
#: end. Prints its process id, a line for each batch that it has written, and one when it has ended.
SERVER = """
import os, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import lancedb
from llava_tools.retrieval import PageIndex, ingest, pages
from llava_tools.testing import ScriptedEmbedder
from tests.hardening.index_kills import change_files


pages.SIDE, ingest.BATCH_SIZE = 32, 2
for line in sys.stdin:
    folder = Path(line.rstrip("\\n"))
    writer = os.fork()
    if writer == 0:
        index = PageIndex(folder / "index", ScriptedEmbedder())
        print(os.getpid(), flush=True)
        for number in range(1000):
            change_files(folder / "in", number)
            index.update([folder / "in"], lambda progress: print("batch", flush=True))
            index.remove([folder / "in" / "long.pdf"])
            index.update([folder / "in"], lambda progress: print("batch", flush=True))
        os._exit(1)
    os.waitpid(writer, 0)
    print("ended", flush=True)
"""


def change_files(folder: Path, number: int) -> None:
    """Replace, add and remove files; those that no round changes stay."""
    write_pdf(folder / "changing.pdf", [f"Revision {number} of page {page}" for page in range(3)])
    if number % 2:
        (folder / "coming.pdf").unlink()
    else:
        write_pdf(folder / "coming.pdf", ["It comes and goes"])


class Writers:
    """Forks writers of indexes, one at a time, and kills them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def kill_after(self, folder: Path, batches: int, seconds: float) -> None:
        """Let a writer work in a folder, and kill it so many seconds after it wrote batches."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{folder}\n")
        process.stdin.flush()
        writer = int(process.stdout.readline())
        descriptor = os.pidfd_open(writer)
        for _ in range(batches):
            process.stdout.readline()
        try:
            import select

            if select.select([descriptor], [], [], seconds)[0]:
                raise AssertionError("the writer ended by itself")
            os.kill(writer, signal.SIGKILL)
        finally:
            os.close(descriptor)
        while (line := process.stdout.readline()) != "ended\n":
            if not line:
                raise AssertionError("the process that forks has ended")


@contextmanager
def writers() -> Iterator[Writers]:
    """Start the process that forks writers."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env=environment, cwd=ROOT, encoding="utf-8", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield Writers(process)
        finally:
            process.kill()


def try_kill(writers: Writers, intact: Path, batches: int, seconds: float) -> str:
    """Kill a writer; return how the index answers then. The next update makes it right."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(intact, folder, dirs_exist_ok=True)
        files = folder / "in"
        writers.kill_after(folder, batches, seconds)
        before = found(folder)
        for path, pages in before.items():
            if pages != list(range(1, PAGES[path] + 1)):
                raise AssertionError(f"half of {path}: {pages}")
        if "kept.pdf" not in before:
            raise AssertionError(f"kept.pdf is lost: {sorted(before)}")
        report = PageIndex(folder / "index", ScriptedEmbedder()).update([files])
        skipped = report.skipped
        after = found(folder)
        expected = {
            path: list(range(1, pages + 1))
            for path, pages in PAGES.items()
            if (files / path).exists()
        }
        # A file that was killed while it was written is no PDF.
        for item in skipped:
            expected.pop(Path(item.document).name, None)
        if after != expected or {Path(item.document).name for item in skipped} - {
            "changing.pdf", "coming.pdf"
        }:  # fmt: skip
            raise AssertionError(f"after the update: {after}, {skipped}")
        if before == after:
            return "as after the update"
    return "as at an earlier commit"


def found(folder: Path) -> dict[str, list[int]]:
    """Return the pages that a search may return, by the names of files."""
    index = PageIndex(folder / "index", ScriptedEmbedder())
    names = {Path(item.document).name for item in index.documents()}
    pages: dict[str, list[int]] = {}
    for hit in index.search("page", 1000, mode="image"):
        index.thumbnail(hit)
        pages.setdefault(Path(hit.document).name, []).append(hit.page)
    if pages.keys() - names:
        raise AssertionError(f"pages of no file: {sorted(pages.keys() - names)}")
    return {name: sorted(numbers) for name, numbers in pages.items()}


def attack(count: int, seed: int) -> Tally:
    """Kill writers at drawn moments."""
    tally, rng = Tally(), random.Random(seed)
    with tempfile.TemporaryDirectory() as name, writers() as server:
        folder = Path(name)
        (folder / "in").mkdir()
        write_pdf(folder / "in" / "kept.pdf", ["A page that stays", "Another one"])
        write_long_pdf(folder / "in" / "long.pdf", PAGES["long.pdf"])
        PageIndex(folder / "index", ScriptedEmbedder()).update([folder / "in"])
        for _ in range(count):
            batches, seconds = rng.randrange(MOST_BATCHES + 1), rng.uniform(0, LONGEST)
            what = f"killed {seconds:.4f} s after batch {batches}"
            tally.add(partial(try_kill, server, folder, batches, seconds), what)
    return tally


ATTACK = Attack("index_kills", "writers of a page index killed at any moment", attack, 120, 2)
