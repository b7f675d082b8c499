"""Documents as pages: a PDF or an image goes in; images of pages with their text come out.

pypdfium2 renders a PDF page so that its longer side has `SIDE` pixels, whatever its size on paper;
the page's text is the PDF's text layer. An image is one page without text. One page is in memory at
a time. pdfium is not thread-safe, so a lock of the process guards every call of it.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
import warnings
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from llava_tools.core.unicode import well_formed
from llava_tools.errors import DocumentError, ImageError, require
from llava_tools.images import ImageRef, ImageWarning, open_image
from llava_tools.images.sources import shorten
from llava_tools.tools.geometry import Box, clip_box

#: Pixels of the longer side of a rendered page: four times what LLaVA sees, for zooming in.
SIDE = 1344
#: The most pages of a document.
MAX_PAGES = 5_000
#: Characters of a page's text that are kept, at most.
MAX_TEXT = 20_000

_pdfium_lock = threading.RLock()  # the garbage collector may close one iterator inside another


class FileState(NamedTuple):
    """A file's size in bytes, time of change in nanoseconds, and inode; equal if unchanged."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, file: str | int) -> FileState:
        """Return the state of a path or a file descriptor."""
        status = os.stat(file)
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


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

    `text` is its text layer, empty for an image.
    """

    digest: str
    number: int
    image: ImageRef
    text: str


def hash_file(path: str) -> tuple[str, FileState]:
    """Return the SHA-256 of a file's bytes, in hex, and its state; `DocumentError` if empty."""
    with open(path, "rb") as file:
        state = FileState.of(file.fileno())
        if state.size == 0:
            raise DocumentError(f"{shorten(path)} is empty.", "Get the file again.")
        return hashlib.file_digest(file, "sha256").hexdigest(), state


def open_document(path: str, digest: str, state: FileState) -> Document:
    """Check that a file's pages can be read, and count them.

    Raises:
        DocumentError: A PDF that is encrypted, broken, without header or pages, or with too many.
        ImageError: An image that cannot be used.
        MissingExtraError: pypdfium2 is not installed.
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        is_pdf = b"%PDF-" in file.read(1024)
    pages = 1
    if is_pdf:
        with _open_pdf(path) as pdf, _pdfium_lock:
            pages = len(pdf)
        if not 1 <= pages <= MAX_PAGES:
            problem, hint = "no pages", "Get the file again."
            if pages:
                problem = f"{pages:,} pages, more than the {MAX_PAGES:,} that are read"
                hint = "Split it."
            raise DocumentError(f"{shorten(path)} has {problem}.", hint)
    else:
        try:
            _open_image(path)
        except ImageError as error:
            if not path.lower().endswith(".pdf"):
                raise
            raise DocumentError(
                f"{shorten(path)} is not a PDF: its header is missing.", "Get the file again."
            ) from error
    return Document(path, digest, pages, state, is_pdf)


def read_pages(document: Document, skip: Collection[int] = ()) -> Iterator[PageImage]:
    """Render a document's pages in order, except the numbers in `skip`.

    Raises:
        DocumentError: A page cannot be rendered, or the file changed meanwhile.
        ImageError, OSError: As in `open_document`.
    """
    numbers = [number for number in range(1, document.pages + 1) if number not in skip]
    if document.is_pdf and numbers:
        with _open_pdf(document.path) as pdf:  # once: reading a long file's index takes time
            for number in numbers:
                yield _render(pdf, document, number)
    elif numbers:
        yield read_page(document, 1)
    if FileState.of(document.path) != document.state:
        raise DocumentError(
            f"{shorten(document.path)} changed while it was read.", "Index it again."
        )


def read_page(document: Document, number: int) -> PageImage:
    """Render one page, counted from 1; see `read_pages`."""
    if not document.is_pdf:
        return PageImage(document.digest, number, _open_image(document.path), "")
    with _open_pdf(document.path) as pdf:
        return _render(pdf, document, number)


def _render(pdf: Any, document: Document, number: int) -> PageImage:
    # Everything that pdfium and Pillow raise for a page that cannot be rendered.
    damage = (_pdfium().PdfiumError, ImageError, ValueError, OverflowError, MemoryError)
    with _pdfium_lock:
        try:
            with closing(pdf[number - 1]) as page:
                scale = SIDE / max(*page.get_size(), 1.0)
                bitmap = page.render(scale=scale, may_draw_forms=False, rev_byteorder=True)
                pixels = bitmap.to_pil()
                with closing(page.get_textpage()) as layer:
                    text = layer.get_text_range(errors="replace")
        except damage as error:
            raise DocumentError(
                f"{shorten(document.path)}: page {number} cannot be drawn ({error}).",
                "Repair the file, for example with qpdf.",
            ) from error
    source = f"{shorten(document.path, quote=False)}, p. {number}"
    image = replace(open_image(pixels), source=source)
    return PageImage(document.digest, number, image, " ".join(text.split())[:MAX_TEXT])


def find_text(document: Document, number: int, text: str, size: tuple[int, int]) -> Box | None:
    """Return the first place of a text in a page's text layer, as pixels of an image of that size.

    None if the layer does not contain it, and for rotated pages.
    """
    if not document.is_pdf or not text.strip():
        return None
    with _open_pdf(document.path) as pdf, _pdfium_lock:
        page = pdf[number - 1]
        layer = page.get_textpage()
        match = layer.search(well_formed(text.strip()), match_whole_word=True).get_next()
        if match is None or page.get_rotation() != 0:
            return None
        start, length = match
        boxes = [layer.get_charbox(index) for index in range(start, start + length)]
        left, bottom, _, _ = page.get_bbox()
        page_width, page_height = page.get_size()
    # Points from the page's lower left corner to pixels from the image's upper left one.
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    width, height = size
    edges = (
        (min(lefts) - left) / page_width * width,
        (1 - (max(tops) - bottom) / page_height) * height,
        (max(rights) - left) / page_width * width,
        (1 - (min(bottoms) - bottom) / page_height) * height,
    )
    return clip_box([round(edge) for edge in edges], size)


def _open_image(path: str) -> ImageRef:
    """Open an image without the warning that only the first of several frames is used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)
        return open_image(path)


@contextmanager
def _open_pdf(path: str) -> Iterator[Any]:
    """Open a PDF; its user must hold `_pdfium_lock` for every call."""
    pdfium = _pdfium()
    with _pdfium_lock:
        try:
            pdf = pdfium.PdfDocument(path)
        except pdfium.PdfiumError as error:
            raise _unopenable(path, str(error)) from error
    try:
        yield pdf
    finally:
        with _pdfium_lock:
            pdf.close()  # and its pages


def _unopenable(path: str, message: str) -> DocumentError:
    """Return the error for a PDF that pdfium does not open.

    For a PDF without pages, pdfium repeats the error of the file before; so `encrypted` needs a
    mark in the file too.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        encrypted = data.find(b"/Encrypt") >= 0
    if encrypted and ("assword" in message or "ecurity" in message):
        return DocumentError(
            f"{shorten(path)} is encrypted.", "Save it without a password, for example with qpdf."
        )
    return DocumentError(f"{shorten(path)} is broken, or has no pages.", "Get the file again.")


def _pdfium() -> Any:
    require("pypdfium2", extra="documents")
    import pypdfium2

    return pypdfium2
