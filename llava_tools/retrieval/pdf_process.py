"""PDFs are opened and drawn in a child process, with limits of memory and time.

A PDF of a few hundred bytes can make pdfium draw for hours, take all memory, or crash. None of that
reaches this process: the child is killed, a new one takes the next request, and the file is the
only one that is skipped. `PdfProcess` is one child; it is started by its first request, with a
fresh interpreter (it is not forked), and used by one thread at a time. `borrow_process` lends one
that others have used before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from llava_tools.errors import DocumentError, require
from llava_tools.retrieval import pdf_worker

#: Seconds of processor time for a page, and for opening a file. Pages of manuals take 0.02.
MAX_SECONDS = 30.0
#: Seconds by the clock for the same: a disk may hang. On a busy machine, a page takes longer.
MAX_WAIT = 240.0
#: Bytes that the child may take beyond those of its modules: on Linux its address space is limited;
#: on macOS and BSD its resident memory is watched; Windows has no limit.
MAX_MEMORY = 2 << 30
#: Bytes of a reply's line, at most; a character of text takes up to twelve.
_MAX_LINE = 16 * pdf_worker.MAX_CHARACTERS
#: Children that are kept for later; each takes some 30 MB until it has been idle for a minute.
_KEPT = 2


class DrawingLimitError(DocumentError):
    """A PDF that exceeds the limits of time or memory, or that crashes pdfium.

    Another attempt would end the same way, so an index remembers the file's content.
    """


class PdfProcess:
    """A child process that opens and draws PDFs, one request at a time.

    `close`, which any thread may call, also ends a request that runs; it is then a `DocumentError`.
    """

    def __init__(self) -> None:
        self.closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    def request(self, name: str, **request: Any) -> tuple[dict[str, Any], bytes]:
        """Send a request, and return the reply: a dictionary, and the pixels of a page.

        Args:
            name: How messages call the file.
            request: See `pdf_worker`.

        Raises:
            DrawingLimitError: The file exceeds the limits, or crashes pdfium.
            DocumentError: The child cannot be started, or was closed.
            MissingExtraError: pypdfium2 is not installed.
        """
        line = json.dumps(request).encode() + b"\n"
        for attempt in (1, 2):
            if self.closed:
                break
            try:
                process = self._start()
                reply = _exchange(process, line, request.get("side", 0))
            except TimeoutError as error:
                self._stop()
                raise DocumentError(
                    f"{name} was not read within {MAX_WAIT:g} seconds.",
                    "Read it again when the machine and its disks are less busy.",
                ) from error
            except BaseException:  # Ctrl-C among others: the child would go on
                self._stop()
                raise
            if reply is not None:
                return reply
            self._stop()
            idle = process.returncode == pdf_worker.IDLE and attempt == 1  # for long, before this
            if not idle and not self.closed:
                raise _limit_error(name, request, process.returncode)
        raise DocumentError(f"{name} was not read to its end.", "Read it again.")

    def close(self) -> None:
        """End the child, and the request that it serves."""
        self.closed = True
        self._stop()

    @property
    def pid(self) -> int | None:
        """The child's process id; None if there is no child."""
        return None if self._process is None else self._process.pid

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop()
        require("pypdfium2", extra="documents")
        if getattr(sys, "frozen", False) or not sys.executable:
            raise DocumentError("There is no Python interpreter to draw PDF pages with.")
        command = [sys.executable, "-P", pdf_worker.__file__]
        self._process = process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._finalizer = weakref.finalize(self, _end, process, os.getpid())
        if not _await_start(process):
            self._stop()
            raise DocumentError(
                f"The process that draws PDFs does not start (exit code {process.returncode}).",
                "Check that `python -c 'import pypdfium2'` works.",
            )
        return process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._finalizer is not None:
            self._finalizer()

    def abandon(self) -> None:
        """Forget the child without ending it: it is that of the process this one is a fork of."""
        if self._finalizer is not None:
            self._finalizer.detach()
        self._process = None


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """Kill a child, and wait until it is gone."""
    if os.getpid() != owner:  # this process is a fork of the child's parent
        return
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError, ValueError):  # what could not be written is lost
                pipe.close()
    process.wait()


@contextmanager
def _deadline(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill a child after `MAX_WAIT`, which ends all reading from it; `TimeoutError` then."""
    passed = threading.Event()

    def kill() -> None:
        passed.set()
        process.kill()

    timer = threading.Timer(MAX_WAIT, kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if passed.is_set():
        raise TimeoutError


def _await_start(process: subprocess.Popen[bytes]) -> bool:
    """Return whether the child is ready."""
    assert process.stdin is not None
    assert process.stdout is not None
    setup = {"path": sys.path, "seconds": MAX_SECONDS, "memory": MAX_MEMORY}
    with _deadline(process), suppress(OSError, ValueError):
        process.stdin.write(json.dumps(setup).encode() + b"\n")
        process.stdin.flush()
        while line := process.stdout.readline(_MAX_LINE):
            if line == pdf_worker.READY:
                return True
    return False


def _exchange(
    process: subprocess.Popen[bytes], line: bytes, side: int
) -> tuple[dict[str, Any], bytes] | None:
    """Return the reply to a request; None if the child has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    reply = None
    with _deadline(process), suppress(OSError, ValueError):  # ValueError: another thread closed it
        process.stdin.write(line)
        process.stdin.flush()
        reply = _read_reply(process.stdout, side)
    return reply


def _read_reply(stream: IO[bytes], side: int) -> tuple[dict[str, Any], bytes] | None:
    """Read a reply, which is checked, too: the child reads what strangers wrote."""
    line = stream.readline(_MAX_LINE)
    if not line.endswith(b"\n"):
        return None
    header = json.loads(line)
    width, height = header.get("width", 0), header.get("height", 0)
    if not (0 <= width <= side + 1 and 0 <= height <= side + 1):  # pdfium's size is rounded up
        return None
    pixels = stream.read(3 * width * height)
    return (header, pixels) if len(pixels) == 3 * width * height else None


def _limit_error(name: str, request: dict[str, Any], code: int) -> DocumentError:
    """Return the error for a request during which the child ended with an exit code."""
    page = f": page {request['page']}" if "page" in request else ""
    verb = "drawn" if page else "opened"
    if code == pdf_worker.OUT_OF_TIME:
        problem = f"it takes more than {MAX_SECONDS:g} seconds"
    else:
        problem = f"it needs more than {MAX_MEMORY >> 20:,} MiB of memory, or crashes pdfium"
    return DrawingLimitError(
        f"{name}{page} cannot be {verb}: {problem}.", "If you trust it, print it to a new PDF."
    )


class _Pool:
    """Children that nobody uses now."""

    def __init__(self) -> None:
        self.idle: list[PdfProcess] = []
        self.lock = threading.Lock()
        self.watches_forks = False

    def forget(self) -> None:
        """In a forked process: leave the children to its parent."""
        for process in self.idle:
            process.abandon()
        self.idle, self.lock = [], threading.Lock()


_pool = _Pool()


@contextmanager
def borrow_process(process: PdfProcess | None = None) -> Iterator[PdfProcess]:
    """Lend a process for a while, one that was used before if there is one; or return `process`."""
    if process is not None:
        yield process
        return
    with _pool.lock:
        if not _pool.watches_forks and hasattr(os, "register_at_fork"):  # Windows has no fork
            os.register_at_fork(after_in_child=_pool.forget)
            _pool.watches_forks = True
        process = _pool.idle.pop() if _pool.idle else PdfProcess()
    try:
        yield process
    finally:
        with _pool.lock:
            keep = not process.closed and len(_pool.idle) < _KEPT
            if keep:
                _pool.idle.append(process)
        if not keep:
            process.close()


def release_files() -> None:
    """Let go of the PDFs that idle children keep open, where an open file cannot be removed."""
    if sys.platform == "win32":
        close_idle_processes()


def close_idle_processes() -> None:
    """End the children that are kept for later requests."""
    with _pool.lock:
        idle, _pool.idle = _pool.idle, []
    for process in idle:
        process.close()
