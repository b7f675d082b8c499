"""Documents as pages: a PDF or an image goes in; images of pages with their text come out.

A PDF's page is drawn by pypdfium2 so that its longer side has `SIDE` pixels, whatever its size on
paper; its text is the PDF's own text layer. An image is one page without text. One page is in
memory at a time. pdfium may not be used by two threads at once: a lock of the process sees to that.
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
from typing import Any

from llava_tools.errors import DocumentError, ImageError, MissingExtraError
from llava_tools.images import ImageRef, ImageWarning, open_image
from llava_tools.images.sources import short
from llava_tools.tools.geometry import Box, clipped

#: Pixels of the longer side of a drawn page: four times what LLaVA looks at, for zooming in.
SIDE = 1344
#: The most pages that a document may have.
MAX_PAGES = 5_000
#: The most characters of a page's text that are kept.
MAX_TEXT = 20_000

_pdfium_lock = threading.RLock()  # a forgotten iterator may be closed in the middle of another


@dataclass(frozen=True)
class Document:
    """A file whose content is known.

    Attributes:
        path: Absolute.
        digest: SHA-256 of its bytes, in hex.
        pages: How many it has, >= 1.
        stamp: Size and time of change when the digest was taken.
        is_pdf: Whether it is a PDF rather than an image.
    """

    path: str
    digest: str
    pages: int
    stamp: tuple[int, int]
    is_pdf: bool


@dataclass(frozen=True)
class PageImage:
    """One page as an image.

    Attributes:
        digest: Of the document.
        number: From 1.
        image: What the page looks like.
        text: Its text layer; empty for an image.
    """

    digest: str
    number: int
    image: ImageRef
    text: str


def digest_of(path: str) -> tuple[str, tuple[int, int]]:
    """Return the SHA-256 of a file and its size and time of change.

    Raises:
        DocumentError: It is empty.
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        stamp = _stamp(os.fstat(file.fileno()))
        if stamp[0] == 0:
            raise DocumentError(f"{short(path)} is empty.", "Get the file again.")
        return hashlib.file_digest(file, "sha256").hexdigest(), stamp


def open_document(path: str, digest: str, stamp: tuple[int, int]) -> Document:
    """Look into a file far enough to know that its pages can be had, and how many there are.

    Raises:
        DocumentError: A PDF that is encrypted, broken, without pages, or with too many.
        ImageError: An image that cannot be used.
        MissingExtraError: pypdfium2 is not installed.
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        is_pdf = b"%PDF-" in file.read(1024)
    pages = 1
    if is_pdf:
        with _pdf(path) as pdf, _pdfium_lock:
            pages = len(pdf)
        if not 1 <= pages <= MAX_PAGES:
            many = f"{pages:,} pages, more than the {MAX_PAGES:,} that are read"
            raise DocumentError(
                f"{short(path)} has {many if pages else 'no pages'}.",
                "Split it." if pages else "Get the file again.",
            )
    else:
        _image(path)
    return Document(path, digest, pages, stamp, is_pdf)


def read_pages(document: Document, known: Collection[int] = ()) -> Iterator[PageImage]:
    """Draw a document's pages in order, without those that are known.

    Raises:
        DocumentError: A page cannot be drawn, or the file changed meanwhile.
        ImageError: An image that cannot be used.
        OSError: It cannot be read.
    """
    wanted = [number for number in range(1, document.pages + 1) if number not in known]
    if document.is_pdf and wanted:
        with _pdf(document.path) as pdf:  # once: reading a long file's table takes its time
            for number in wanted:
                yield _drawn(pdf, document, number)
    elif wanted:
        yield read_page(document, 1)
    if _stamp(os.stat(document.path)) != document.stamp:
        raise DocumentError(f"{short(document.path)} changed while it was read.", "Index it again.")


def read_page(document: Document, number: int) -> PageImage:
    """Draw one page, counted from 1; see `read_pages`."""
    if not document.is_pdf:
        return PageImage(document.digest, number, _image(document.path), "")
    with _pdf(document.path) as pdf:
        return _drawn(pdf, document, number)


def _drawn(pdf: Any, document: Document, number: int) -> PageImage:
    name = short(document.path, quote=False)
    with _pdfium_lock:
        try:
            with closing(pdf[number - 1]) as page:
                scale = SIDE / max(*page.get_size(), 1.0)
                drawn = page.render(scale=scale, may_draw_forms=False, rev_byteorder=True)
                pixels = drawn.to_pil()
                with closing(page.get_textpage()) as words:
                    text = words.get_text_range(errors="replace")
        except _damage() as error:
            raise DocumentError(
                f"{short(document.path)}: page {number} cannot be drawn ({error}).",
                "Repair the file, for example with qpdf.",
            ) from error
    image = replace(open_image(pixels), source=f"{name}, p. {number}")
    return PageImage(document.digest, number, image, " ".join(text.split())[:MAX_TEXT])


def place_of(document: Document, number: int, words: str, size: tuple[int, int]) -> Box | None:
    """Return where words stand on a page by its text layer, in pixels of an image of that size.

    None where the words are not there, or not in the text layer; the first place where they are
    there more than once.
    """
    if not document.is_pdf or not words.strip():
        return None
    with _pdf(document.path) as pdf, _pdfium_lock:
        page = pdf[number - 1]
        text = page.get_textpage()
        place = text.search(words.strip(), match_whole_word=True).get_next()
        if place is None:
            return None
        boxes = [text.get_charbox(index) for index in range(place[0], place[0] + place[1])]
        left, bottom, _, _ = page.get_bbox()
        across, up = page.get_size()
        turned = page.get_rotation() != 0
    if turned:
        return None
    x1, y1 = min(box[0] for box in boxes) - left, max(box[3] for box in boxes) - bottom
    x2, y2 = max(box[2] for box in boxes) - left, min(box[1] for box in boxes) - bottom
    width, height = size
    edges = (x1 / across * width, (1 - y1 / up) * height)
    ends = (x2 / across * width, (1 - y2 / up) * height)
    return clipped([round(edge) for edge in (*edges, *ends)], size)


def _image(path: str) -> ImageRef:
    """Open an image; that only the first of several frames counts goes without saying here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)
        return open_image(path)


@contextmanager
def _pdf(path: str) -> Iterator[Any]:
    """Open a PDF; whatever is done with it is done under `_pdfium_lock`."""
    pdfium = _pdfium()
    with _pdfium_lock:
        try:
            pdf = pdfium.PdfDocument(path)
        except pdfium.PdfiumError as error:
            raise _unreadable(path, str(error)) from error
    try:
        yield pdf
    finally:
        with _pdfium_lock:
            pdf.close()  # and its pages


def _unreadable(path: str, told: str) -> DocumentError:
    """Return the error for a PDF that pdfium does not open.

    For one without pages, pdfium repeats what was wrong with the file before; so a password has to
    be asked for by the file too.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        encrypted = data.find(b"/Encrypt") >= 0
    if encrypted and ("assword" in told or "ecurity" in told):
        return DocumentError(
            f"{short(path)} is encrypted.", "Save it without a password, for example with qpdf."
        )
    return DocumentError(f"{short(path)} is broken, or has no pages.", "Get the file again.")


def _pdfium() -> Any:
    try:
        import pypdfium2
    except ImportError as error:
        raise MissingExtraError("pypdfium2", "documents") from error
    return pypdfium2


def _damage() -> tuple[type[Exception], ...]:
    """Return what a page raises that cannot be drawn."""
    return (_pdfium().PdfiumError, ImageError, ValueError, OverflowError, MemoryError)


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
