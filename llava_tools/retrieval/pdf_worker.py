"""The child process that opens and draws PDFs; `pdf_process` starts it and talks to it.

It is run as a file, and imports pypdfium2 and the standard library only, so that it starts in a
fraction of a second. Requests and replies are lines of JSON on stdin and stdout; the pixels of a
page follow their line. It ends when its parent has gone, in the middle of a page too, since pdfium
runs without Python's lock; and after `IDLE_SECONDS` without a request.
"""

from __future__ import annotations

import json
import mmap
import os
import queue
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, BinaryIO

#: First reply; what a `sitecustomize` prints comes before it.
READY = b"llava-tools draws pages\n"
#: Exit codes: idle for long; more processor time or memory used than allowed.
IDLE, OUT_OF_TIME, OUT_OF_MEMORY = 0, 76, 77
#: Seconds without a request after which the process ends.
IDLE_SECONDS = 60.0
#: Characters of a text layer that are returned, at most.
MAX_CHARACTERS = 200_000
#: Seconds between two looks at the time and memory used.
_WATCH_SECONDS = 0.02

_Reply = tuple[dict[str, Any], bytes]


class RequestFailedError(Exception):
    """A request that cannot be served; `kind` names the reason, `message` is pdfium's."""

    def __init__(self, kind: str, message: str = "") -> None:
        super().__init__(kind)
        self.kind, self.message = kind, message


class OpenedPdf:
    """The PDF of the last request, which stays open: reading a long file's index takes time."""

    def __init__(self) -> None:
        self._key: tuple[str, list[int]] | None = None
        self._file: BinaryIO | None = None
        self._pdf: Any = None

    def get(self, path: str, state: list[int]) -> Any:
        """Return a PDF, if its file is in that state: size, time of change, inode and device."""
        if self._key != (path, state):
            self.close()
            self._open(path, state)
            self._key = (path, state)
        return self._pdf

    def close(self) -> None:
        """Close the PDF and its file."""
        if self._pdf is not None:
            self._pdf.close()
        if self._file is not None:
            self._file.close()
        self._key = self._file = self._pdf = None

    def _open(self, path: str, state: list[int]) -> None:
        import pypdfium2

        file = self._file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115
        status = os.fstat(file.fileno())
        found = [status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev]
        if found != state or not stat.S_ISREG(status.st_mode):
            raise RequestFailedError("changed")
        try:
            self._pdf = pypdfium2.PdfDocument(file)
        except pypdfium2.PdfiumError as error:
            raise RequestFailedError(_fault(file, str(error))) from error


def main() -> None:
    """Serve requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    requests = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)  # what libraries print is no reply
        setup = json.loads(requests.readline())
        sys.path[:] = setup["path"]
        import pypdfium2  # noqa: F401 -- before the limit is set

        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        limits = Limits(setup["seconds"], setup["memory"])
        threading.Thread(target=_read_lines, args=(requests, lines), daemon=True).start()
        threading.Thread(target=limits.watch, daemon=True).start()
        _limit_address_space(setup["memory"])
        replies.write(READY)
        replies.flush()
        opened = OpenedPdf()
        while True:
            try:
                line = lines.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                os._exit(IDLE)
            with limits.applied():
                header, pixels = _serve(opened, json.loads(line))
            replies.write(json.dumps(header).encode() + b"\n")
            replies.write(pixels)
            replies.flush()


def _read_lines(requests: BinaryIO, lines: queue.SimpleQueue[bytes]) -> None:
    """Pass requests on; end the process when there can be no more, whatever it draws."""
    with suppress(OSError, ValueError):
        for line in requests:
            lines.put(line)
    os._exit(IDLE)


def _serve(opened: OpenedPdf, request: dict[str, Any]) -> _Reply:
    import pypdfium2

    # Everything that pdfium raises for a page that cannot be used.
    damage = (pypdfium2.PdfiumError, ValueError, OverflowError, MemoryError)
    try:
        pdf = opened.get(request["path"], request["state"])
        if request["do"] == "count":
            return {"pages": len(pdf)}, b""
        if request["do"] == "text":
            return _read_text(pdf, request["page"]), b""
        if request["do"] == "boxes":
            return _read_boxes(pdf, request["page"], request["spans"]), b""
        return _draw(pdf, request["page"], request["side"])
    except RequestFailedError as error:
        return {"error": error.kind, "message": error.message}, b""
    except OSError as error:
        return {"error": "os", "errno": error.errno, "message": error.strerror}, b""
    except damage as error:
        message = "not enough memory" if isinstance(error, MemoryError) else str(error)
        return {"error": "page", "message": message[:200]}, b""


def _draw(pdf: Any, number: int, side: int) -> _Reply:
    """Draw a page so that its longer side has `side` pixels, and read its text layer."""
    with closing(pdf[number - 1]) as page:
        scale = side / max(*page.get_size(), 1.0)
        bitmap = page.render(scale=scale, may_draw_forms=False, rev_byteorder=True)
        if bitmap.mode != "RGB":
            raise RequestFailedError("page", f"its colours are {bitmap.mode}")
        pixels = _without_padding(bitmap)
        with closing(page.get_textpage()) as layer:
            text = layer.get_text_range(errors="replace")[:MAX_CHARACTERS]
        return {"width": bitmap.width, "height": bitmap.height, "text": text}, pixels


def _without_padding(bitmap: Any) -> bytes:
    """Return the rows of pixels, which pdfium pads to multiples of four bytes."""
    data, row = bytes(bitmap.buffer), 3 * bitmap.width
    if bitmap.stride == row:
        return data[: row * bitmap.height]
    starts = range(0, bitmap.stride * bitmap.height, bitmap.stride)
    return b"".join(data[start : start + row] for start in starts)


def _read_text(pdf: Any, number: int) -> dict[str, Any]:
    """Return a page's text layer, a character for each box, and its rotation in degrees."""
    with closing(pdf[number - 1]) as page, closing(page.get_textpage()) as layer:
        text = layer.get_text_range(errors="replace")[:MAX_CHARACTERS]
        return {"text": text, "rotation": page.get_rotation()}


def _read_boxes(pdf: Any, number: int, spans: list[list[int]]) -> dict[str, Any]:
    """Return the box in points around each span of a text layer, and the page's box and size."""
    with closing(pdf[number - 1]) as page, closing(page.get_textpage()) as layer:
        boxes = []
        for span in spans:
            lefts, bottoms, rights, tops = zip(*map(layer.get_charbox, range(*span)), strict=True)
            boxes.append([min(lefts), min(bottoms), max(rights), max(tops)])
        return {"boxes": boxes, "page_box": page.get_bbox(), "page_size": page.get_size()}


def _fault(file: BinaryIO, message: str) -> str:
    """Return why pdfium does not open a file.

    For a PDF without pages, pdfium repeats the error of the file before; so `encrypted` needs a
    mark in the file too.
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        encrypted = data.find(b"/Encrypt") >= 0
    secret = encrypted and ("assword" in message or "ecurity" in message)
    return "encrypted" if secret else "broken"


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for a writer


class Limits:
    """Limits of a request: seconds of processor time, and bytes of memory where these are watched.

    Processor time, since a page must not fail because the machine is busy with other things.
    """

    def __init__(self, seconds: float, memory: int) -> None:
        self._seconds, self._memory = seconds, memory
        self._end: float | None = None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Limit the time of a block."""
        self._end = time.process_time() + self._seconds
        yield
        self._end = None

    def watch(self) -> None:
        """Look at the limits for ever, and end the process when one is exceeded."""
        while True:
            time.sleep(_WATCH_SECONDS)
            end = self._end
            if end is not None and time.process_time() > end:
                os._exit(OUT_OF_TIME)
            if _resident_bytes() > self._memory:
                os._exit(OUT_OF_MEMORY)


def _resident_bytes() -> int:
    """Return the most memory that was in use, on macOS and BSD; elsewhere 0.

    They do not enforce a limit of the address space.
    """
    if sys.platform in ("win32", "linux"):
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _limit_address_space(limit: int) -> None:
    """Let Linux refuse more memory than now in use and `limit` bytes."""
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        limit += int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no file
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")  # if the machine's memory runs out, end this process first


if __name__ == "__main__":
    main()
