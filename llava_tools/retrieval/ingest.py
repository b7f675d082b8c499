"""Indexing up to the writes: plans which documents to read, renders and encodes their pages."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from PIL import Image

from llava_tools.core.backend import Encoder
from llava_tools.errors import DocumentError, ImageError
from llava_tools.images import ImageRef
from llava_tools.retrieval.files import Skipped
from llava_tools.retrieval.ocr import OcrEngine, dump_lines
from llava_tools.retrieval.pages import (
    MAX_TEXT,
    Document,
    FileState,
    PageImage,
    hash_file,
    open_document,
    read_pages,
)
from llava_tools.retrieval.pdf_process import PdfProcess
from llava_tools.retrieval.pipeline import prefetch
from llava_tools.retrieval.refused import load_refused
from llava_tools.retrieval.schema import DocumentRow, ImageRow, PageRow
from llava_tools.retrieval.store import Store
from llava_tools.retrieval.text import clean_text, headings

#: Pages that are encoded and written together.
BATCH_SIZE = 16
#: Pixels of the longer side of a thumbnail.
THUMBNAIL_SIDE = 256
#: JPEG quality of thumbnails and of the pages' images that an index keeps.
JPEG_QUALITY = 80


@dataclass(frozen=True)
class DocumentJob:
    """A document to read, except its `stored` pages; `duplicates` are files of the same content.

    `metadata` is that of their rows.
    """

    document: Document
    stored: frozenset[int]
    metadata: str
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True)
class IngestPlan:
    """Documents to read, new files whose content is stored, and files without work."""

    jobs: list[DocumentJob]
    copies: list[DocumentRow]
    unchanged: int
    skipped: list[Skipped]


@dataclass(frozen=True)
class IngestEvent:
    """A rendered page and its thumbnail; or the end of the job; or why its files are skipped.

    `jpeg` is the page's image for an index that keeps them; `seconds` is the time of rendering.
    """

    job: DocumentJob
    page: PageImage | None = None
    thumbnail: bytes = b""
    jpeg: bytes = b""
    seconds: float = 0.0
    skipped: tuple[Skipped, ...] = ()
    skipped_pages: int = 0


@dataclass(frozen=True)
class IngestBatch:
    """Rows to write together, in this order, and the files and pages skipped meanwhile.

    `images` are those of `pages` if the index keeps them; the seconds are those of these pages.
    """

    started: list[DocumentRow]
    images: list[ImageRow]
    pages: list[PageRow]
    complete: list[DocumentRow]
    skipped: list[Skipped]
    skipped_pages: int
    render_seconds: float
    encode_seconds: float


def plan_ingest(
    store: Store | None, files: Sequence[str], metadata: str | None = None
) -> IngestPlan:
    """Compare files with an index, None for a new one, by their content.

    `metadata` is that of the files; None keeps what they had.
    """
    rows = store.documents() if store else {}
    # An index that was mended may have fewer pages than its complete files.
    stored: Mapping[str, int] = store.page_counts() if store else Counter()
    complete = {
        row.digest: row for row in rows.values() if row.complete and stored[row.digest] >= row.pages
    }
    refused = load_refused(store) if store else {}
    jobs: dict[str, DocumentJob] = {}
    copies: list[DocumentRow] = []
    skipped: list[Skipped] = []
    unchanged = 0
    for path in files:
        digest = ""
        try:
            digest, state = hash_file(path)
            stored_fields = rows[path].metadata if path in rows else "{}"
            fields = stored_fields if metadata is None else metadata
            if digest in complete:
                row = replace(
                    complete[digest], document=path, modified=_modified(state), metadata=fields
                )
                if rows.get(path) != row:
                    copies.append(row)
                unchanged += path in rows and rows[path].digest == digest and rows[path].complete
            elif digest in refused:
                skipped.append(Skipped(path, refused[digest], digest=digest))
            elif digest in jobs:
                job = jobs[digest]
                jobs[digest] = replace(job, duplicates=(*job.duplicates, path))
            else:
                document = open_document(path, digest, state)
                numbers = frozenset(store.page_numbers(digest) if store else ())
                jobs[digest] = DocumentJob(document, numbers, fields)
        except (DocumentError, ImageError, OSError) as error:
            skipped.append(Skipped.from_error(path, error, digest))
    return IngestPlan(list(jobs.values()), copies, unchanged, skipped)


def ingest_batches(
    jobs: Iterable[DocumentJob],
    encoder: Encoder,
    ocr: OcrEngine | None = None,
    keep_images: bool = False,
) -> Generator[IngestBatch]:
    """Render and encode the pages of documents, each in a thread of its own, ready to write.

    `ocr` reads the pages that have no text layer.

    Closing ends the process that draws PDFs, so that a page that takes long delays no Ctrl-C.
    """
    with (
        closing(PdfProcess()) as process,
        closing(prefetch(_render_pages(jobs, process, ocr, keep_images), 2 * BATCH_SIZE)) as events,
        closing(prefetch(_encode_pages(events, encoder), 2, process.close)) as batches,
    ):
        yield from batches


def _render_pages(
    jobs: Iterable[DocumentJob], process: PdfProcess, ocr: OcrEngine | None, keep_images: bool
) -> Generator[IngestEvent]:
    """Render the pages of documents, each followed by its end or by why it is skipped."""
    for job in jobs:
        remaining = job.document.pages - len(job.stored)
        start = time.perf_counter()
        try:
            for page in read_pages(job.document, job.stored, process):
                remaining -= 1
                page = page if ocr is None or page.text else read_text(page, ocr)
                jpeg = make_jpeg(page.image) if keep_images else b""
                thumbnail = make_thumbnail(page.image)
                yield IngestEvent(job, page, thumbnail, jpeg, time.perf_counter() - start)
                start = time.perf_counter()
            yield IngestEvent(job)
        except (DocumentError, ImageError, OSError) as error:
            paths = (job.document.path, *job.duplicates)
            digest = job.document.digest
            skipped = tuple(Skipped.from_error(path, error, digest) for path in paths)
            yield IngestEvent(job, skipped=skipped, skipped_pages=remaining)


def read_text(page: PageImage, ocr: OcrEngine) -> PageImage:
    """Return a page with the text of its image."""
    lines = tuple(ocr.read(page.image))
    layer = "\n".join(line.text for line in lines)
    text = clean_text(layer)[:MAX_TEXT]
    return replace(page, text=text, lines=lines, headings=headings(layer))


def _encode_pages(events: Iterable[IngestEvent], encoder: Encoder) -> Generator[IngestBatch]:
    """Group events into batches, and encode their pages."""
    group: list[IngestEvent] = []
    for event in events:
        group.append(event)
        pages = sum(event.page is not None for event in group)
        if pages == BATCH_SIZE or len(group) == 2 * BATCH_SIZE:
            yield _encode(group, encoder)
            group = []
    if group:
        yield _encode(group, encoder)


def _encode(events: Sequence[IngestEvent], encoder: Encoder) -> IngestBatch:
    pages = [(event.page, event.thumbnail) for event in events if event.page is not None]
    start = time.perf_counter()
    vectors = encoder.embed_images([page.image for page, _ in pages]) if pages else []
    encode_seconds = time.perf_counter() - start
    rows = []
    for (page, thumbnail), vector in zip(pages, vectors, strict=True):
        key = (page.digest, page.number, page.image.handle)
        rows.append(
            PageRow(
                *key,
                *page.image.size,
                page.text,
                thumbnail,
                vector,
                dump_lines(page.lines),
                page.headings,
            )
        )
    started: dict[str, DocumentRow] = {}
    complete: list[DocumentRow] = []
    for event in events:
        if not event.skipped:
            document = event.job.document
            content = (document.digest, document.pages, document.is_pdf)
            row = started[document.path] = DocumentRow(
                document.path,
                *content,
                complete=False,
                modified=_modified(document.state),
                metadata=event.job.metadata,
            )
            if event.page is None:
                paths = (document.path, *event.job.duplicates)
                complete += [replace(row, document=path, complete=True) for path in paths]
    return IngestBatch(
        started=list(started.values()),
        images=[
            ImageRow(event.page.digest, event.page.number, event.jpeg)
            for event in events
            if event.page is not None and event.jpeg
        ],
        pages=rows,
        complete=complete,
        skipped=[item for event in events for item in event.skipped],
        skipped_pages=sum(event.skipped_pages for event in events),
        render_seconds=sum(event.seconds for event in events),
        encode_seconds=encode_seconds,
    )


def _modified(state: FileState) -> str:
    """Return when a file was last changed: UTC in ISO 8601, to seconds."""
    date = datetime.fromtimestamp(state.mtime_ns // 10**9, UTC)
    return date.strftime("%Y-%m-%dT%H:%M:%S")


def make_thumbnail(image: ImageRef) -> bytes:
    """Return an image as a small JPEG."""
    small = image.rgb()
    small.thumbnail((THUMBNAIL_SIDE,) * 2, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return _encode_jpeg(small)


def make_jpeg(image: ImageRef) -> bytes:
    """Return an image as a JPEG of its size."""
    return _encode_jpeg(image.rgb())


def _encode_jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
