"""Documents as pages: a PDF or an image goes in; images of pages with their text come out.

A PDF page is rendered so that its longer side has `SIDE` pixels, whatever its size on paper; the
page's text is the PDF's text layer. PDFs are opened and drawn in a child process with limits of
time and memory (`pdf_process`). An image is one page without text. One page is in memory at a time.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from llava_tools.core.unicode import well_formed
from llava_tools.errors import DocumentError, ImageError
from llava_tools.images import ImageRef, ImageWarning, open_image
from llava_tools.images.opening import open_regular, open_regular_within
from llava_tools.images.sources import shorten
from llava_tools.retrieval.ocr import OcrLine, OcrWord
from llava_tools.retrieval.pdf_process import PdfProcess, borrow_process
from llava_tools.retrieval.signatures import not_a_pdf
from llava_tools.retrieval.text import WORD, clean_text, find_span, headings
from llava_tools.tools.geometry import Box, clip_box

#: Pixels of the longer side of a rendered page: four times what LLaVA sees, for zooming in.
SIDE = 1344
#: The most pages of a document.
MAX_PAGES = 5_000
#: Characters of a page's text that are kept, at most.
MAX_TEXT = 20_000
_LINE = re.compile(r"[^\r\n]+")
_EPOCH = datetime(1970, 1, 1)
_FIRST_SECOND = (datetime.min - _EPOCH) // timedelta(seconds=1)
_LAST_SECOND = (datetime.max - _EPOCH) // timedelta(seconds=1)


class FileState(NamedTuple):
    """A file's size in bytes, time of change in nanoseconds, inode and device.

    Equal if it is the same file, unchanged.
    """

    size: int
    mtime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, file: str | int) -> FileState:
        """Return the state of a path or a file descriptor."""
        status = os.stat(file)
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)

    @property
    def modified(self) -> str:
        """When the file was last changed: UTC in ISO 8601, to seconds.

        A time outside of the years 1 to 9999, as a file may have, becomes the nearest within.
        """
        # Not `fromtimestamp`, which on Windows refuses times before 1970.
        seconds = min(max(self.mtime_ns // 10**9, _FIRST_SECOND), _LAST_SECOND)
        return (_EPOCH + timedelta(seconds=seconds)).isoformat()


@dataclass(frozen=True)
class Document:
    """A PDF or an image: its absolute path, and the SHA-256 of its bytes, in hex, as `digest`.

    `state` is the file's when it was hashed.
    """

    path: str
    digest: str
    pages: int
    state: FileState
    is_pdf: bool


@dataclass(frozen=True)
class PageImage:
    """A rendered page, numbered from 1, of the document with this digest.

    `text` is its text layer, empty for an image, or what OCR read. `lines` has the places of the
    words if OCR or `read_words` read them.
    `headings` has its short lines (`text.headings`).
    """

    digest: str
    number: int
    image: ImageRef
    text: str
    lines: tuple[OcrLine, ...] = ()
    headings: str = ""


def hash_file(path: str, directories: Iterable[Path] | None = None) -> tuple[str, FileState]:
    """Return the SHA-256 of a file's bytes, in hex, and its state.

    Args:
        path: A regular file.
        directories: Folders one of which the file must be in, see `open_regular_within`.

    Raises:
        DocumentError: It is empty.
        OSError: It cannot be read, or is no regular file; `PermissionError` outside of the folders.
    """
    within = None if directories is None else tuple(directories)
    with open_regular(path) if within is None else open_regular_within(path, within) as file:
        state = FileState.of(file.fileno())
        if state.size == 0:
            raise DocumentError(f"{shorten(path)} is empty.", "Get the file again.")
        return hashlib.file_digest(file, "sha256").hexdigest(), state


def open_document(
    path: str, digest: str, state: FileState, process: PdfProcess | None = None
) -> Document:
    """Check that a file's pages can be read, and count them.

    `process` opens PDFs; by default one that is kept for all.

    Raises:
        DocumentError: A PDF that is encrypted, broken, without header or pages, or with too many;
            a file that changed after it was hashed.
        ImageError: An image that cannot be used.
        MissingExtraError: pypdfium2 is not installed.
        OSError: It cannot be read.
    """
    with _open_unchanged(path, state) as file:
        head = file.read(1024)
    is_pdf = b"%PDF-" in head
    document = Document(path, digest, 1, state, is_pdf)
    if not is_pdf:
        try:
            _open_image(document)
        except ImageError as error:
            if not path.lower().endswith(".pdf"):
                raise
            raise not_a_pdf(head, shorten(path)) from error
        return document
    with borrow_process(process) as borrowed:
        pages = _request(borrowed, document, "count")[0]["pages"]
    if not 1 <= pages <= MAX_PAGES:
        problem, hint = "no pages", "Get the file again."
        if pages:
            problem = f"{pages:,} pages, more than the {MAX_PAGES:,} that are read"
            hint = "Split it."
        raise DocumentError(f"{shorten(path)} has {problem}.", hint)
    return replace(document, pages=pages)


def read_pages(
    document: Document, skip: Collection[int] = (), process: PdfProcess | None = None
) -> Iterator[PageImage]:
    """Render a document's pages in order, except the numbers in `skip`.

    Raises:
        DocumentError: A page cannot be rendered, or the file changed meanwhile.
        ImageError, OSError: As in `open_document`.
    """
    with borrow_process(process) as borrowed:
        for number in range(1, document.pages + 1):
            if number not in skip:
                yield read_page(document, number, borrowed)
    if FileState.of(document.path) != document.state:
        raise _changed(document.path)


def read_page(document: Document, number: int, process: PdfProcess | None = None) -> PageImage:
    """Render one page, counted from 1; see `read_pages`."""
    if not document.is_pdf:
        return PageImage(document.digest, number, _open_image(document), "")
    with borrow_process(process) as borrowed:
        reply, pixels = _request(borrowed, document, "draw", page=number, side=SIDE)
    drawn = Image.frombytes("RGB", (reply["width"], reply["height"]), pixels)
    image = replace(open_image(drawn), source=page_source(document.path, number))
    text = clean_text(reply["text"])[:MAX_TEXT]
    return PageImage(document.digest, number, image, text, headings=headings(reply["text"]))


def page_source(path: str, number: int) -> str:
    """Return the `source` of a page's image, which messages name."""
    return f"{shorten(path, quote=False)}, p. {number}"


def find_text(document: Document, number: int, text: str, size: tuple[int, int]) -> Box | None:
    """Return the first place of a text in a page's text layer, as pixels of an image of that size.

    None if the layer does not contain it, and for rotated pages.
    """
    wanted = well_formed(text.strip())
    if not document.is_pdf or not wanted:
        return None
    with borrow_process() as process:
        layer, _ = _request(process, document, "text", page=number)
        span = find_span(layer["text"], wanted)
        if span is None or layer["rotation"]:
            return None
        (box,) = _read_boxes(process, document, number, [span], size)
    return box


def read_words(document: Document, page: PageImage, process: PdfProcess | None = None) -> PageImage:
    """Return a page with the places of its text layer's words, as `OcrEngine` returns them.

    A rotated page has none, and one without a text layer.
    """
    if not document.is_pdf or not page.text:
        return page
    with borrow_process(process) as borrowed:
        layer, _ = _request(borrowed, document, "text", page=page.number)
        if layer["rotation"]:
            return page
        text = layer["text"][:MAX_TEXT]
        spans = [match.span() for match in WORD.finditer(text)]
        boxes = _read_boxes(borrowed, document, page.number, spans, page.image.size)
    words = {
        start: OcrWord(text[start:end], box)
        for (start, end), box in zip(spans, boxes, strict=True)
        if box is not None
    }
    lines = [
        OcrLine(line[0], tuple(words[start] for start in range(*line.span()) if start in words))
        for line in _LINE.finditer(text)
    ]
    return replace(page, lines=tuple(lines))


def _read_boxes(
    process: PdfProcess,
    document: Document,
    number: int,
    spans: Sequence[tuple[int, int]],
    size: tuple[int, int],
) -> list[Box | None]:
    """Return the boxes of spans of a text layer, as pixels of an image of that size."""
    reply, _ = _request(process, document, "boxes", page=number, spans=spans)
    # Points from the page's lower left corner to pixels from the image's upper left one.
    page_left, page_bottom, _, _ = reply["page_box"]
    page_width, page_height = reply["page_size"]
    width, height = size
    boxes = []
    for left, bottom, right, top in reply["boxes"]:
        edges = (
            (left - page_left) / page_width * width,
            (1 - (top - page_bottom) / page_height) * height,
            (right - page_left) / page_width * width,
            (1 - (bottom - page_bottom) / page_height) * height,
        )
        boxes.append(clip_box([round(edge) for edge in edges], size))
    return boxes


def _request(
    process: PdfProcess, document: Document, do: str, **arguments: Any
) -> tuple[dict[str, Any], bytes]:
    """Send a request about a PDF to the child process; translate what it cannot do."""
    name = shorten(document.path)
    reply, pixels = process.request(
        name, do=do, path=document.path, state=document.state, **arguments
    )
    match reply.get("error"):
        case None:
            return reply, pixels
        case "os":
            raise OSError(reply["errno"], reply["message"], document.path)
        case "changed":
            raise _changed(document.path)
        case "encrypted":
            raise DocumentError(
                f"{name} is encrypted.", "Save it without a password, for example with qpdf."
            )
        case "page":
            reason = shorten(reply["message"], quote=False)
            page = f": page {arguments['page']}" if "page" in arguments else ""
            raise DocumentError(
                f"{name}{page} cannot be drawn ({reason}).",
                "Repair the file, for example with qpdf.",
            )
        case _:
            raise DocumentError(f"{name} is broken, or has no pages.", "Get the file again.")


def _open_unchanged(path: str, state: FileState) -> BufferedReader:
    """Open a file that must be in a state."""
    file = open_regular(path)
    if FileState.of(file.fileno()) != state:
        file.close()
        raise _changed(path)
    return file


def _changed(path: str) -> DocumentError:
    return DocumentError(f"{shorten(path)} changed while it was read.", "Index it again.")


def _open_image(document: Document) -> ImageRef:
    """Open an image without the warning that only the first of several frames is used."""
    with _open_unchanged(document.path, document.state) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)
        return open_image(file)
