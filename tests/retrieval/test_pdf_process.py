"""PDFs are drawn in a child process: hostile files end it, others are read, none is left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from llava_tools.errors import DocumentError
from llava_tools.retrieval import Skipped, load_pages, pages, pdf_process, pdf_worker
from llava_tools.retrieval.pages import (
    Document,
    hash_file,
    open_document,
    read_page,
    read_pages,
)
from llava_tools.retrieval.pdf_process import DrawingLimitError, PdfProcess, close_idle_processes
from tests.retrieval.documents import write_pdf
from tests.retrieval.hostile_pdfs import HOSTILE, write_dense_pattern

ROOT = Path(__file__).parents[2]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def process() -> Iterator[PdfProcess]:
    process = PdfProcess()
    yield process
    process.close()


@pytest.fixture
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    close_idle_processes()  # the limits are those of the moment when a child starts
    monkeypatch.setattr(pdf_process, "MAX_SECONDS", 0.5)
    monkeypatch.setattr(pdf_process, "MAX_MEMORY", 128 << 20)
    yield
    close_idle_processes()


def open_pdf(path: Path) -> Document:
    return open_document(str(path), *hash_file(str(path)))


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    """Return when a process that is no child of this one has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        import select

        assert select.select([descriptor], [], [], 30)[0], f"{pid} still runs"
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.usefixtures("_small_limits")
def test_i1_hostile_pdf_is_named_and_the_other_files_are_read(tmp_path: Path, kind: str) -> None:
    write_pdf(tmp_path / "a.pdf", ["Before"])
    HOSTILE[kind](tmp_path / "b.pdf")
    write_pdf(tmp_path / "c.pdf", ["After"])
    loaded = list(load_pages([tmp_path]))
    texts = [item.page.text for item in loaded if not isinstance(item, Skipped)]
    (skipped,) = [item for item in loaded if isinstance(item, Skipped)]
    assert texts == ["Before", "After"]
    assert skipped.document == str(tmp_path / "b.pdf")
    assert "page 1 cannot be drawn" in skipped.reason
    assert "more than 0.5 seconds" in skipped.reason or "more than 128 MiB" in skipped.reason


@pytest.mark.usefixtures("_small_limits")
def test_page_of_an_answer_is_drawn_with_limits(tmp_path: Path) -> None:
    document = open_pdf(write_dense_pattern(tmp_path / "a.pdf"))
    with pytest.raises(DrawingLimitError, match=r"page 1 cannot be drawn: .* more than 0\.5 sec"):
        read_page(document, 1)


def test_crash_is_an_error_and_the_next_request_has_a_new_child(
    tmp_path: Path, process: PdfProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = open_pdf(write_pdf(tmp_path / "a.pdf", ["One", "Two"]))
    exchange = pdf_process._exchange

    def crash(child: subprocess.Popen[bytes], line: bytes, side: int) -> object:
        child.send_signal(signal.SIGSEGV)
        return exchange(child, line, side)

    with monkeypatch.context() as patched:
        patched.setattr(pdf_process, "_exchange", crash)
        with pytest.raises(DrawingLimitError, match=r"page 1 cannot be drawn: .* crashes pdfium"):
            read_page(document, 1, process)
    assert process.pid is None
    assert read_page(document, 2, process).text == "Two"


def test_child_that_ended_when_idle_is_replaced(tmp_path: Path, process: PdfProcess) -> None:
    document = open_pdf(write_pdf(tmp_path / "a.pdf", ["One", "Two"]))
    read_page(document, 1, process)
    first = process._process
    assert first is not None
    assert first.stdin is not None
    first.stdin.close()  # the child ends as it does when it was idle for long
    assert first.wait(30) == pdf_worker.IDLE
    assert read_page(document, 2, process).text == "Two"


def test_wall_clock_bounds_a_child_that_hangs(
    tmp_path: Path, process: PdfProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = open_pdf(write_pdf(tmp_path / "a.pdf", ["One"]))
    read_page(document, 1, process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(pdf_process, "MAX_WAIT", 0.2)
    with pytest.raises(DocumentError, match=r"not read within 0\.2 seconds") as caught:
        read_page(document, 1, process)
    assert not isinstance(caught.value, DrawingLimitError)  # another time it may be read


def test_closing_from_another_thread_ends_a_page(
    tmp_path: Path, process: PdfProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = open_pdf(write_dense_pattern(tmp_path / "a.pdf"))
    exchange, started = pdf_process._exchange, threading.Event()

    def announced(child: subprocess.Popen[bytes], line: bytes, side: int) -> object:
        started.set()
        return exchange(child, line, side)

    def close() -> None:
        started.wait(30)
        process.close()

    monkeypatch.setattr(pdf_process, "_exchange", announced)
    closer = threading.Thread(target=close)
    closer.start()
    for _ in range(2):  # a closed process stays closed
        with pytest.raises(DocumentError, match="was not read to its end"):
            read_page(document, 1, process)
        closer.join()
    assert process.pid is None


def test_one_child_draws_all_pages_and_keeps_no_pillow_or_torch(
    tmp_path: Path, process: PdfProcess
) -> None:
    document = open_pdf(write_pdf(tmp_path / "a.pdf", ["One", "Two", "Three"]))
    pids = {(page.text, process.pid) for page in read_pages(document, (), process)}
    assert {text for text, _ in pids} == {"One", "Two", "Three"}
    assert len({pid for _, pid in pids}) == 1
    if sys.platform == "linux":
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        assert "pdfium" in loaded
        unneeded = ["torch", "lance"]
        if int(version("pypdfium2").partition(".")[0]) >= 5:  # pypdfium2 4 imports both itself
            unneeded += ["numpy", "PIL"]
        assert not [name for name in unneeded if f"/{name}" in loaded]


def test_drawing_limits_apply_to_the_side_that_was_requested(
    tmp_path: Path, process: PdfProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "SIDE", 40)
    document = open_pdf(write_pdf(tmp_path / "a.pdf", ["One"]))
    assert read_page(document, 1, process).image.size == (30, 40)


@pytest.mark.parametrize("size", [(300, 300), (595.276, 841.89), (612, 792), (0.5, 0.5), (1, 5000)])
def test_pages_of_any_size_are_drawn(
    tmp_path: Path, process: PdfProcess, size: tuple[float, float]
) -> None:
    image = read_page(open_pdf(write_pdf(tmp_path / "a.pdf", ["One"], size)), 1, process).image
    longer = max(size)
    expected = [max(1.0, side / max(longer, 1) * pages.SIDE) for side in size]
    assert [abs(a - b) <= 1 for a, b in zip(image.size, expected, strict=True)] == [True, True]


PROGRAM = """
import os, signal, sys
from llava_tools.retrieval import PageIndex, pdf_process
from llava_tools.retrieval.pages import hash_file, open_document, read_page
from llava_tools.testing import ScriptedEmbedder

# A job of a shell without job control ignores interrupts, and so would this one.
signal.signal(signal.SIGINT, signal.default_int_handler)
document = open_document(sys.argv[1], *hash_file(sys.argv[1]))
exchange = pdf_process._exchange

def announced(child, line, side):
    if side:  # a page, not the file
        print(child.pid, flush=True)
    return exchange(child, line, side)

pdf_process._exchange = announced
if sys.argv[2] == "page":
    read_page(document, 1)
else:
    PageIndex(sys.argv[1] + ".index", ScriptedEmbedder()).update([sys.argv[1]])
"""


@linux_only
@pytest.mark.parametrize("use", ["page", "index"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_no_child_is_left_when_its_parent_ends_within_a_page(
    tmp_path: Path, name: str, use: str
) -> None:
    path = write_dense_pattern(tmp_path / "a.pdf")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, str(path), use]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=pipe, stderr=pipe) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.Signals[name])
        parent.wait(25)  # the page would take thirty seconds
    if is_running(child):
        wait_until_gone(child)


@linux_only
def test_forked_process_leaves_the_child_to_its_parent(tmp_path: Path) -> None:
    program = """
import os, sys
from llava_tools.retrieval import pdf_process
from llava_tools.retrieval.pages import hash_file, open_document, read_page

document = open_document(sys.argv[1], *hash_file(sys.argv[1]))
(idle,) = pdf_process._pool.idle
pid = os.fork()
if pid == 0:
    assert pdf_process._pool.idle == []
    assert read_page(document, 1).text == "One"
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
first = idle.pid
assert read_page(document, 1).text == "One"
assert idle.pid == first
print("done")
"""
    path = write_pdf(tmp_path / "a.pdf", ["One"])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


@pytest.mark.parametrize(("system", "bytes_"), [("darwin", 5000), ("freebsd14", 5_120_000)])
def test_where_no_limit_is_enforced_the_resident_memory_is_watched(
    system: str, bytes_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    usage = SimpleNamespace(ru_maxrss=5000)  # in bytes on macOS, elsewhere in KiB
    monkeypatch.setattr(resource, "getrusage", lambda _: usage)
    monkeypatch.setattr(resource, "setrlimit", lambda *_: pytest.fail("it is not enforced there"))
    monkeypatch.setattr(sys, "platform", system)
    assert pdf_worker._resident_bytes() == bytes_
    pdf_worker._limit_address_space(1)


def test_windows_has_no_limit_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert pdf_worker._resident_bytes() == 0
    pdf_worker._limit_address_space(1)


def test_pages_are_read_where_processes_do_not_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    monkeypatch.setattr(pdf_process, "_pool", pdf_process._Pool())
    document = open_pdf(write_pdf(tmp_path / "a.pdf", ["One"]))
    assert read_page(document, 1).text == "One"
    close_idle_processes()


@pytest.mark.parametrize(("system", "kept"), [("win32", 0), ("linux", 1)])
def test_open_files_are_released_where_they_could_not_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, kept: int
) -> None:
    monkeypatch.setattr(pdf_process, "_pool", pdf_process._Pool())
    read_page(open_pdf(write_pdf(tmp_path / "a.pdf", ["One"])), 1)
    monkeypatch.setattr(sys, "platform", system)
    pdf_process.release_files()
    assert len(pdf_process._pool.idle) == kept
    close_idle_processes()
