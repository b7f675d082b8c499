"""An index survives what happens around it: other processes, a full disk, files that change."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llava_tools.errors import IndexStoreError
from llava_tools.retrieval import IndexReport, PageIndex
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_long_pdf, write_pdf

ROOT = Path(__file__).parents[2]

#: Indexes files; each batch of pages waits for a line on stdin and answers with one.
WRITER = """
import sys
from llava_tools.retrieval import PageIndex, ingest, pages
from llava_tools.testing import ScriptedEmbedder

pages.SIDE, ingest.BATCH_SIZE = 32, 4
report = PageIndex(sys.argv[1], ScriptedEmbedder()).update(
    [sys.argv[2]], lambda progress: (print(progress.done, flush=True), sys.stdin.readline())
)
print("added", report.added, flush=True)
"""

#: Indexes files with a limit of the size of files; prints the error.
LIMITED = """
import resource, sys
from llava_tools.errors import IndexStoreError
from llava_tools.retrieval import PageIndex, pages
from llava_tools.testing import ScriptedEmbedder

pages.SIDE = 64
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    PageIndex(sys.argv[1], ScriptedEmbedder()).update([sys.argv[2]])
except IndexStoreError as error:
    print(error)
"""


@contextmanager
def writer(where: Path, files: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(where), str(files)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, text=True, stdin=pipe, stdout=pipe
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def let_go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.slow
def test_second_writer_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    where, files = tmp_path / "index", tmp_path / "in"
    files.mkdir()
    write_long_pdf(files / "long.pdf", 40)
    index = PageIndex(where, ScriptedEmbedder())
    with writer(where, files) as process:
        assert next_line(process) == "4"
        with pytest.raises(IndexStoreError, match="is being written by another process"):
            index.update([files])
        process.send_signal(signal.SIGKILL)
        process.wait()
    report = index.update([files])
    assert 0 < report.added <= 36
    assert set(index.store.page_counts().values()) == {40}


@pytest.mark.slow
def test_readers_see_whole_documents_while_another_process_writes(tmp_path: Path) -> None:
    where, files = tmp_path / "index", tmp_path / "in"
    files.mkdir()
    write_pdf(files / "a.pdf", ["Page number 0"])
    reader = PageIndex(where, ScriptedEmbedder())
    reader.update([files])
    for name in range(6):
        write_pdf(files / f"{name}.pdf", [f"Page number {name}{page}" for page in range(8)])
    seen: list[int] = []
    with writer(where, files) as process:
        while not (line := next_line(process)).startswith("added"):
            for mode in ("text", "image", "hybrid"):
                hits = reader.search("number page", 99, mode=mode)
                seen.append(len(hits))
                assert len(hits) % 8 == 1
                assert all(reader.thumbnail(hit) for hit in hits[:2])
            let_go_on(process)
    assert line == "added 48"
    assert seen == sorted(seen)
    assert len(set(seen)) > 3
    assert len(reader.search("number page", 99, mode="text")) == 49


@pytest.mark.slow
def test_full_disk_raises_and_the_next_update_continues(tmp_path: Path) -> None:
    where, files = tmp_path / "index", tmp_path / "in"
    files.mkdir()
    write_long_pdf(files / "long.pdf", 120)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    stopped = 0
    for limit in (2_000, 12_000, 16_000, 10_000_000):
        command = [sys.executable, "-c", LIMITED, str(where), str(files), str(limit)]
        run = subprocess.run(
            command, env=environment, cwd=ROOT, text=True, capture_output=True, check=True
        )
        assert not run.stdout or "cannot be" in run.stdout, run.stdout
        stopped += bool(run.stdout)
    assert stopped == 3
    assert run.stdout == ""
    index = PageIndex(where, ScriptedEmbedder())
    assert set(index.store.page_counts().values()) == {120}
    assert [hit.page for hit in index.search("119", mode="text")] == [119]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB in memory, which only root on Linux can mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux")
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.slow
def test_disk_without_space_keeps_what_is_indexed(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searches go on, and the next update with space continues."""
    monkeypatch.setattr("llava_tools.retrieval.pages.SIDE", 128)
    where, files = small_disk / "index", tmp_path / "in"
    files.mkdir()
    for number in range(12):
        write_long_pdf(files / f"{number}.pdf", 60 + number)
    for _ in range(2):
        with pytest.raises(IndexStoreError, match=r"No space left on device.* Free some space"):
            PageIndex(where, ScriptedEmbedder()).update([files])
        found = len(PageIndex(where, ScriptedEmbedder()).search("1", 99, mode="text"))
        assert 0 < found < 12
    subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
    index = PageIndex(where, ScriptedEmbedder())
    report = index.update([files])
    assert (report.documents, report.skipped) == (12, ())
    assert 0 < report.unchanged < 12
    assert index.store.count() == sum(range(60, 72))
    assert len(index.search("1", 99, mode="text")) == 12


@pytest.mark.parametrize(("name", "reason"), [("file", "File exists"), ("file/x", "Not a dir")])
def test_index_in_place_of_a_file_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    """It is not called damaged: deleting that file is no way out."""
    (tmp_path / "file").write_text("mine")
    write_pdf(tmp_path / "a.pdf", ["tea"])
    with pytest.raises(IndexStoreError, match=rf"cannot be made: {reason}.* another folder\.$"):
        PageIndex(tmp_path / name, ScriptedEmbedder()).update([tmp_path / "a.pdf"])
    assert (tmp_path / "file").read_text() == "mine"


def move(path: Path) -> None:
    path.rename(path.with_name("moved.pdf"))


def change(path: Path) -> None:
    write_pdf(path, ["Other words"])


def truncate(path: Path) -> None:
    os.truncate(path, 100)


@pytest.mark.parametrize("act", [move, Path.unlink, change, truncate])
def test_files_that_move_vanish_or_change_while_they_are_read(
    tmp_path: Path, act: Callable[[Path], None]
) -> None:
    """The rest is indexed, and the next update makes the index right."""
    files = tmp_path / "in"
    files.mkdir()
    for name in ("a", "b", "c"):
        write_pdf(files / f"{name}.pdf", [f"File {name} page {page}" for page in range(40)])
    calls = 0

    def images(image: object) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        if calls == 1:
            act(files / "b.pdf")
        return (1.0, 0.0)

    def update(embedder: ScriptedEmbedder) -> IndexReport:
        return PageIndex(tmp_path / "index", embedder).update([files])

    report = update(ScriptedEmbedder(images=images))
    names = {Path(item.document).name for item in report.skipped}
    assert names <= {"b.pdf"}
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    found = {Path(hit.document).name for hit in index.search("File a page", 200, mode="text")}
    assert {"a.pdf", "c.pdf"} <= found
    report = update(ScriptedEmbedder())
    counts = {Path(path).name: row.pages for path, row in index.store.documents().items()}
    expected = {"a.pdf": 40, "c.pdf": 40}
    if act is move:
        expected["moved.pdf"] = 40
    elif act is change:
        expected["b.pdf"] = 1
    assert counts == expected
    assert index.store.count() == sum(expected.values())
    assert len(report.skipped) == (act is truncate)
