"""What an index has to read: a plan, and its pages drawn and encoded, ready to be written."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

from PIL import Image

from llava_tools.core.backend import Encoder
from llava_tools.errors import DocumentError, ImageError
from llava_tools.images import ImageRef
from llava_tools.retrieval.files import Skipped
from llava_tools.retrieval.pages import (
    Document,
    PageImage,
    digest_of,
    open_document,
    read_pages,
)
from llava_tools.retrieval.store import DocumentRow, PageRow, Store

#: Pages that are encoded together, and written together.
BATCH = 16
#: Pixels of the longer side of a thumbnail.
THUMBNAIL = 256


@dataclass(frozen=True)
class Work:
    """A document to be read.

    Attributes:
        document: Where it is.
        known: Its pages that are stored.
        also: Other files of the same content.
    """

    document: Document
    known: frozenset[int]
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What there is to do.

    Attributes:
        work: Documents to read.
        copies: Files whose content is stored already, under another name.
        unchanged: How many files are stored as they are.
        skipped: Files that cannot be used.
    """

    work: list[Work]
    copies: list[DocumentRow]
    unchanged: int
    skipped: list[Skipped]


@dataclass(frozen=True)
class Event:
    """A page of a document, with a thumbnail; or its end; or why it and how much was left out."""

    work: Work
    page: PageImage | None = None
    small: bytes = b""
    skipped: Skipped | None = None
    dropped: int = 0


@dataclass(frozen=True)
class Batch:
    """What is written together, in this order, and what else became of the plan meanwhile."""

    begun: list[DocumentRow]
    pages: list[PageRow]
    complete: list[DocumentRow]
    skipped: list[Skipped]
    dropped: int


def plan(store: Store, files: Sequence[str]) -> Plan:
    """Find out by their content what has to be read of files."""
    rows = store.documents()
    stored = {row.digest: row for row in rows.values() if row.complete}
    work: dict[str, Work] = {}
    made = Plan([], [], 0, [])
    unchanged = 0
    for path in files:
        try:
            digest, stamp = digest_of(path)
            if digest in stored:
                twin = stored[digest]
                document = Document(path, digest, twin.pages, stamp, twin.is_pdf)
                if rows.get(path) == (row := _row(document, complete=True)):
                    unchanged += 1
                else:
                    made.copies.append(row)
            elif digest in work:
                first = work[digest]
                work[digest] = Work(first.document, first.known, (*first.also, path))
            else:
                known = frozenset(store.known_pages(digest))
                work[digest] = Work(open_document(path, digest, stamp), known)
        except (DocumentError, ImageError, OSError) as error:
            made.skipped.append(skipped_for(path, error))
    return Plan(list(work.values()), made.copies, unchanged, made.skipped)


def drawn(works: Iterable[Work]) -> Generator[Event]:
    """Draw the pages of documents, each followed by its end or by why it was left out."""
    for work in works:
        left = work.document.pages - len(work.known)
        try:
            for page in read_pages(work.document, work.known):
                left -= 1
                yield Event(work, page, thumbnail(page.image))
            yield Event(work)
        except (DocumentError, ImageError, OSError) as error:
            for path in (work.document.path, *work.also):
                yield Event(work, skipped=skipped_for(path, error), dropped=left)
                left = 0


def encoded(events: Iterable[Event], encoder: Encoder) -> Generator[Batch]:
    """Gather what was drawn into batches, and encode their pages."""
    gathered: list[Event] = []
    for event in events:
        gathered.append(event)
        pages = sum(one.page is not None for one in gathered)
        if pages == BATCH or len(gathered) == 2 * BATCH:
            yield _batch(gathered, encoder)
            gathered = []
    if gathered:
        yield _batch(gathered, encoder)


def _batch(events: Sequence[Event], encoder: Encoder) -> Batch:
    pages = [(event.page, event.small) for event in events if event.page is not None]
    vectors = encoder.embed_images([page.image for page, _ in pages]) if pages else []
    going = [event.work for event in events if event.skipped is None]
    ended = [event.work for event in events if event.page is None and event.skipped is None]
    begun = {work.document.path: _row(work.document, complete=False) for work in going}
    return Batch(
        begun=list(begun.values()),
        pages=[_page(*page, vector) for page, vector in zip(pages, vectors, strict=True)],
        complete=[
            _row(work.document, complete=True, path=path)
            for work in ended
            for path in (work.document.path, *work.also)
        ],
        skipped=[event.skipped for event in events if event.skipped is not None],
        dropped=sum(event.dropped for event in events),
    )


def _row(document: Document, *, complete: bool, path: str | None = None) -> DocumentRow:
    name = path or document.path
    return DocumentRow(name, document.digest, document.pages, document.is_pdf, complete)


def _page(page: PageImage, small: bytes, vector: Sequence[float]) -> PageRow:
    width, height = page.image.size
    return PageRow(
        digest=page.digest,
        page=page.number,
        handle=page.image.handle,
        width=width,
        height=height,
        text=page.text,
        thumbnail=small,
        vector=vector,
    )


def thumbnail(image: ImageRef) -> bytes:
    """Return an image as a small JPEG."""
    small = image.rgb()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def skipped_for(path: str, error: DocumentError | ImageError | OSError) -> Skipped:
    """Return why a file is left out."""
    if isinstance(error, OSError):
        return Skipped(path, f"It cannot be read: {error.strerror}.", keep=True)
    return Skipped(path, str(error))
