"""`PageIndex`: new, unchanged, missing and bad files; changed files; kill -9 after every write."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pypdfium2
import pytest
from lancedb.table import LanceTable
from PIL import Image

from llava_tools.errors import DocumentError, IndexStoreError
from llava_tools.images import ImageRef
from llava_tools.images.store import ImageStore
from llava_tools.retrieval import (
    IndexProgress,
    IndexReport,
    PageIndex,
    changes,
    hit_pages,
    ingest,
    pages,
)
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.locking import write_lock
from llava_tools.retrieval.pages import FileState, hash_file
from llava_tools.retrieval.store import Store
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import encrypt, write_long_pdf, write_pdf
from tests.strategies import make_image

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a PDF of three pages and, one folder further down, an image."""
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    write_pdf(folder / "a.pdf", ["Invoice total 42", "Descaling the machine", "The end"])
    Image.new("RGB", (50, 30), "red").save(folder / "deeper" / "r.png")
    (folder / "notes.txt").write_text("not indexed")
    return folder


def stored_pages(where: Path) -> Counter[tuple[str, int]]:
    """How often each page is stored."""
    columns = Store(where)._pages.search().select(["digest", "page"]).to_arrow().to_pylist()
    return Counter((row["digest"], row["page"]) for row in columns)


def file_names(where: Path) -> list[str]:
    return sorted(os.path.basename(name) for name in Store(where).documents())


def counts(report: IndexReport) -> tuple[int, int, int, int, int]:
    """Documents, pages added, files unchanged, removed and skipped."""
    skipped = len(report.skipped)
    return report.documents, report.added, report.unchanged, report.removed, skipped


def test_update_reads_only_changed_files(folder: Path, tmp_path: Path) -> None:
    embedder = ScriptedEmbedder()
    index = PageIndex(tmp_path / "index", embedder)
    assert counts(index.update([folder])) == (2, 4, 0, 0, 0)
    assert counts(index.update([folder])) == (2, 0, 2, 0, 0)
    assert embedder.embedded == 4
    (folder / "a.pdf").rename(folder / "deeper" / "moved.pdf")
    assert counts(index.update([folder])) == (2, 0, 1, 1, 0)
    assert embedder.embedded == 4
    write_pdf(folder / "deeper" / "moved.pdf", ["Only one page now"])
    assert counts(index.update([folder])) == (2, 1, 1, 0, 0)
    assert [hit.snippet for hit in index.search("page", mode="text")] == ["Only one page now"]
    (folder / "deeper" / "r.png").unlink()
    assert counts(index.update([folder])) == (1, 0, 1, 1, 0)
    assert sum(stored_pages(tmp_path / "index").values()) == 1


def test_files_with_the_same_content_share_their_pages(folder: Path, tmp_path: Path) -> None:
    (folder / "b.pdf").write_bytes((folder / "a.pdf").read_bytes())
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    assert counts(index.update([folder])) == (3, 4, 0, 0, 0)
    assert [hit.page for hit in index.search("descaling", mode="text")] == [2]
    (folder / "a.pdf").unlink()
    assert counts(index.update([folder])) == (2, 0, 2, 1, 0)
    (hit,) = index.search("descaling", mode="text")
    assert hit.document.endswith("b.pdf")


def test_update_keeps_other_folders_and_unmounted_drives(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_pdf(other / "b.pdf", ["Another one"])
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([folder, other / "b.pdf"])
    other.rename(tmp_path / "away")
    assert counts(index.update([folder])) == (3, 0, 2, 0, 0)
    (tmp_path / "away").rename(other)
    (other / "b.pdf").unlink()
    assert counts(index.update([folder])) == (2, 0, 2, 1, 0)


def test_bad_files_are_skipped_with_a_reason(folder: Path, tmp_path: Path) -> None:
    bad = folder / "deeper"
    (bad / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    (bad / "empty.pdf").write_bytes(b"")
    pypdfium2.PdfDocument.new().save(bad / "zero.pdf")
    encrypt(bad / "secret.pdf")
    (bad / "words.png").write_text("these are only words")
    (bad / "loop.png").symlink_to(bad / "loop.png")
    (bad / "up").symlink_to(folder, target_is_directory=True)
    (bad / "pipe.pdf").symlink_to("/dev/null")
    report = PageIndex(tmp_path / "index", ScriptedEmbedder()).update([folder])
    assert counts(report)[:2] == (2, 4)
    reasons = {os.path.basename(skip.document): skip.reason for skip in report.skipped}
    parts = {
        "broken.pdf": "is broken, or has no pages",
        "empty.pdf": "is empty",
        "zero.pdf": "is broken, or has no pages",
        "secret.pdf": "is encrypted",
        "words.png": "looks like text",
        "loop.png": "cannot be read",
        "up": "links back to a folder that it is in",
        "pipe.pdf": "is a device",
    }
    assert reasons.keys() == parts.keys()
    assert [name for name, part in parts.items() if part not in reasons[name]] == []


def test_unreadable_files_stay_indexed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([folder])

    def refuse(path: str) -> tuple[str, FileState]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(changes, "hash_file", refuse)
    report = index.update([folder])
    assert counts(report) == (2, 0, 0, 0, 2)
    assert "Permission denied" in report.skipped[0].reason


def test_broken_files_are_removed(folder: Path, tmp_path: Path) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([folder])
    (folder / "a.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    assert counts(index.update([folder])) == (1, 0, 1, 1, 1)
    assert index.search("descaling", mode="text") == []


def test_files_that_change_while_they_are_read_are_skipped(folder: Path, tmp_path: Path) -> None:
    def images(image: object) -> tuple[float, float]:
        os.utime(folder / "a.pdf", ns=(1, 1))
        return (1.0, 0.0)

    write_pdf(folder / "a.pdf", ["page"] * 70)  # more than are rendered ahead
    index = PageIndex(tmp_path / "index", ScriptedEmbedder(images=images))
    report = index.update([folder])
    assert "changed while it was read" in report.skipped[0].reason
    assert file_names(tmp_path / "index") == ["r.png"]
    assert counts(PageIndex(tmp_path / "index", ScriptedEmbedder()).update([folder]))[:2] == (2, 70)


def test_number_and_size_of_pages_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ten_metres = 10_000 / 25.4 * 72
    write_pdf(tmp_path / "wall.pdf", ["poster"], (ten_metres, ten_metres))
    write_pdf(tmp_path / "strip.pdf", ["strip"], (ten_metres, 1))
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    assert counts(index.update([tmp_path])) == (2, 2, 0, 0, 0)
    assert {hit.size for hit in index.search("poster", mode="image")} == {(1344, 1344), (1344, 1)}
    monkeypatch.setattr(pages, "MAX_PAGES", 2)
    write_pdf(tmp_path / "long.pdf", ["page"] * 3)
    (skip,) = index.update([tmp_path]).skipped
    assert "3 pages, more than the 2" in skip.reason


def test_memory_does_not_grow_with_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SIDE", 32)
    alive: weakref.WeakSet[ImageRef] = weakref.WeakSet()
    most = 0

    def images(image: ImageRef) -> tuple[float, float]:
        nonlocal most
        alive.add(image)
        most = max(most, len(alive))
        return (1.0, 0.0)

    write_long_pdf(tmp_path / "long.pdf", 2000)
    index = PageIndex(tmp_path / "index", ScriptedEmbedder(images=images))
    assert counts(index.update([tmp_path / "long.pdf"])) == (1, 2000, 0, 0, 0)
    assert most <= 4 * ingest.BATCH_SIZE
    assert [hit.page for hit in index.search("1999", mode="text")] == [1999]


def test_other_embedders_and_second_writers_are_refused(folder: Path, tmp_path: Path) -> None:
    where = tmp_path / "index"
    with pytest.raises(IndexStoreError, match="There is no index in"):
        PageIndex(where).search("anything")
    PageIndex(where, ScriptedEmbedder()).update([folder])
    with pytest.raises(IndexStoreError, match="holds vectors of scripted"):
        PageIndex(where, ScriptedEmbedder(dimensions=3)).update([folder])
    with write_lock(IndexLocation(where)), pytest.raises(IndexStoreError, match="is being written"):
        PageIndex(where, ScriptedEmbedder()).update([folder])
    with pytest.raises(DocumentError, match=r"no file or folder '.*nowhere'"):
        PageIndex(where, ScriptedEmbedder()).update([folder / "nowhere"])


def test_open_hashes_a_file_once_per_state(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def count(path: str) -> tuple[str, FileState]:
        hashed.append(os.path.basename(path))
        return hash_file(path)

    monkeypatch.setattr(hit_pages, "hash_file", count)
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([folder])
    hits = {(bool(hit.text), hit.page): hit for hit in index.search("invoice")}
    first, image = hits[True, 1], hits[False, 1]
    for _ in range(2):
        index.open(first)
        index.locate(first, "Invoice")
        index.open(image)
    assert hashed == ["a.pdf", "r.png"]
    os.utime(folder / "a.pdf", ns=(1, 1))  # another state, the same content
    assert index.open(first).handle == first.handle
    assert hashed == ["a.pdf", "r.png", "a.pdf"]


def test_i6_row_of_an_index_cannot_give_a_page_the_handle_of_another_image(
    folder: Path, tmp_path: Path
) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([folder])
    store, victim = ImageStore(), make_image(7)
    store.add(victim)
    hits = [replace(hit, handle=victim.handle) for hit in index.search("invoice")]
    assert all(store.add(index.open(hit)) != victim.handle for hit in hits)
    assert store.get(victim.handle) is victim


@pytest.mark.parametrize("keep", ["size", "time"])
def test_open_notices_changed_files(folder: Path, tmp_path: Path, keep: str) -> None:
    """The change keeps the file's size, or replaces the file and keeps its time."""
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([folder])
    (hit,) = index.search("invoice", 1, mode="text")
    index.open(hit)
    path = folder / "a.pdf"
    time = path.stat().st_mtime_ns
    if keep == "size":
        path.write_bytes(path.read_bytes().swapcase())
        os.utime(path, ns=(time + 1, time + 1))
    else:
        (tmp_path / "new.pdf").write_bytes(path.read_bytes().swapcase())
        os.utime(tmp_path / "new.pdf", ns=(time, time))
        (tmp_path / "new.pdf").rename(path)
    for use in (index.open, lambda hit: index.locate(hit, "Invoice")):
        with pytest.raises(DocumentError, match="changed after it was indexed"):
            use(hit)
    path.unlink()
    with pytest.raises(DocumentError, match="cannot be read any more"):
        index.open(hit)


def test_full_disk_raises_and_the_next_update_continues(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = tmp_path / "index"

    def full(table: object, rows: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(LanceTable, "add", full)
        with pytest.raises(IndexStoreError, match="No space left on device"):
            PageIndex(where, ScriptedEmbedder()).update([folder])
    assert PageIndex(where, ScriptedEmbedder()).search("descaling") == []
    assert counts(PageIndex(where, ScriptedEmbedder()).update([folder])) == (2, 4, 0, 0, 0)


def test_progress_is_reported_per_batch(folder: Path, tmp_path: Path) -> None:
    reports: list[IndexProgress] = []
    PageIndex(tmp_path / "index", ScriptedEmbedder()).update([folder], reports.append)
    assert (reports[-1].done, reports[-1].total) == (4, 4)
    assert reports[-1].rate > 0


CHILD = """
import os, signal, sys
from lancedb.table import LanceTable
from llava_tools.retrieval import PageIndex
from llava_tools.retrieval.writable_store import WritableStore
from llava_tools.testing import ScriptedEmbedder

remaining = int(sys.argv[3])

def counted(write):
    def run(*args, **options):
        global remaining
        write(*args, **options)
        remaining -= 1
        if remaining == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return run

for name in ("add", "delete", "optimize", "create_index"):
    setattr(LanceTable, name, counted(getattr(LanceTable, name)))
WritableStore.put_documents = counted(WritableStore.put_documents)
PageIndex(sys.argv[1], ScriptedEmbedder()).update([sys.argv[2]])
"""


@pytest.mark.slow
def test_kill_after_every_write_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The n-th run is killed right after its n-th write; the next one continues."""
    where, folder = tmp_path / "index", tmp_path / "in"
    folder.mkdir()
    write_pdf(folder / "old.pdf", ["This one goes away"])
    PageIndex(where, ScriptedEmbedder()).update([folder])
    (folder / "old.pdf").unlink()
    write_pdf(folder / "long.pdf", [f"long page {n}" for n in range(1, 41)])
    write_pdf(folder / "short.pdf", ["short page 1", "short page 2"])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    before = 1
    for writes in range(1, 12):
        command = [sys.executable, "-c", CHILD, str(where), str(folder), str(writes)]
        run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=False)
        pages = stored_pages(where)
        assert set(pages.values()) <= {1}
        assert len(pages) >= before - 1  # all but the page of the removed file
        hits = PageIndex(where, ScriptedEmbedder()).search("a", 99)
        searchable = Counter(os.path.basename(hit.document) for hit in hits)
        assert searchable.items() <= {"old.pdf": 1, "long.pdf": 40, "short.pdf": 2}.items()
        before = len(pages)
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    assert run.returncode == 0
    assert writes > 5  # five runs or more were killed
    assert file_names(where) == ["long.pdf", "short.pdf"]
    assert len(stored_pages(where)) == 42
    embedder = ScriptedEmbedder()
    assert counts(PageIndex(where, embedder).update([folder])) == (2, 0, 2, 0, 0)


PRINTING_CHILD = """
import sys
from llava_tools.retrieval import PageIndex, ingest, pages
from llava_tools.retrieval.writable_store import WritableStore
from llava_tools.testing import ScriptedEmbedder

pages.SIDE, ingest.BATCH_SIZE = 32, 4

def printing(function):
    def run(*args, **options):
        print(flush=True)
        return function(*args, **options)
    return run

for name in ("put_documents", "add_pages", "remove", "clean_up"):
    setattr(WritableStore, name, printing(getattr(WritableStore, name)))
embedder = ScriptedEmbedder(images=printing(lambda image: (1.0, 0.0)))
PageIndex(sys.argv[1], embedder).update([sys.argv[2]])
print("done", flush=True)
"""


@pytest.mark.slow
def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    """Each run is killed from outside, after a random number of its steps."""
    where, folder = tmp_path / "index", tmp_path / "in"
    folder.mkdir()
    for name in range(10):
        write_long_pdf(folder / f"{name}.pdf", 30 + name)
    steps = random.Random(3)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PRINTING_CHILD, str(where), str(folder)]
    before = 0
    for _ in range(8):
        with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(steps.randint(1, 30)):
                assert child.stdout.readline() == b"\n"
            child.kill()
        if (where / "pages.lance").is_dir():
            pages = stored_pages(where)
            assert set(pages.values()) <= {1}
            assert len(pages) >= before
            before = len(pages)
            rows = Store(where).documents().values()
            complete = {row.digest for row in rows if row.complete}
            assert all((digest, page) in pages for digest in complete for page in range(1, 31))
    embedder = ScriptedEmbedder()
    index = PageIndex(where, embedder)
    report = index.update([folder])
    assert (report.documents, report.added, report.skipped) == (10, 345 - before, ())
    assert embedder.embedded == 345 - before
    assert len(stored_pages(where)) == 345
    assert 0 < before < 345
