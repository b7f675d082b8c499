"""Documents to read go in; batches of rows come out: rendered, encoded, ready to write."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from llava_tools.core.backend import Encoder
from llava_tools.errors import DocumentError, ImageError
from llava_tools.retrieval.changes import DocumentJob
from llava_tools.retrieval.files import Skipped
from llava_tools.retrieval.jpegs import make_jpeg, make_thumbnail
from llava_tools.retrieval.ocr import OcrEngine, dump_lines
from llava_tools.retrieval.pages import MAX_TEXT, PageImage, read_pages, read_words
from llava_tools.retrieval.pdf_process import PdfProcess
from llava_tools.retrieval.pipeline import prefetch
from llava_tools.retrieval.schema import DocumentRow, ImageRow, PageRow
from llava_tools.retrieval.text import clean_text, headings

#: Pages that are encoded and written together.
BATCH_SIZE = 16


@dataclass(frozen=True)
class IngestEvent:
    """A rendered page with its JPEGs; or the end of the job; or why its files are skipped.

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
        remaining = job.missing_pages
        start = time.perf_counter()
        try:
            for page in read_pages(job.document, job.stored, process):
                remaining -= 1
                if ocr is not None and not page.text:
                    page = read_text(page, ocr)
                elif keep_images:  # with its words' places, citations have boxes without the file
                    page = read_words(job.document, page, process)
                jpeg = make_jpeg(page.image) if keep_images else b""
                thumbnail = make_thumbnail(page.image)
                yield IngestEvent(job, page, thumbnail, jpeg, time.perf_counter() - start)
                start = time.perf_counter()
            yield IngestEvent(job)
        except (DocumentError, ImageError, OSError) as error:
            digest = job.document.digest
            skipped = tuple(Skipped.from_error(path, error, digest) for path in job.paths)
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
    pages = [(event, event.page) for event in events if event.page is not None]
    start = time.perf_counter()
    vectors = encoder.embed_images([page.image for _, page in pages]) if pages else []
    encode_seconds = time.perf_counter() - start
    started, complete = _document_rows(events)
    return IngestBatch(
        started=started,
        images=[
            ImageRow(page.digest, page.number, event.jpeg) for event, page in pages if event.jpeg
        ],
        pages=[
            _page_row(page, event.thumbnail, vector)
            for (event, page), vector in zip(pages, vectors, strict=True)
        ],
        complete=complete,
        skipped=[item for event in events for item in event.skipped],
        skipped_pages=sum(event.skipped_pages for event in events),
        render_seconds=sum(event.seconds for event in events),
        encode_seconds=encode_seconds,
    )


def _page_row(page: PageImage, thumbnail: bytes, vector: Sequence[float]) -> PageRow:
    width, height = page.image.size
    return PageRow(
        digest=page.digest,
        page=page.number,
        handle=page.image.handle,
        width=width,
        height=height,
        text=page.text,
        thumbnail=thumbnail,
        vector=vector,
        words=dump_lines(page.lines),
        headings=page.headings,
    )


def _document_rows(events: Iterable[IngestEvent]) -> tuple[list[DocumentRow], list[DocumentRow]]:
    """Return the rows of documents whose pages come now, and those of whose pages all have come."""
    started: dict[str, DocumentRow] = {}
    complete: list[DocumentRow] = []
    for event in events:
        if event.skipped:
            continue
        document = event.job.document
        row = started[document.path] = DocumentRow(
            document=document.path,
            digest=document.digest,
            pages=document.pages,
            is_pdf=document.is_pdf,
            complete=False,
            modified=document.state.modified,
            metadata=event.job.metadata,
        )
        if event.page is None:
            complete += [replace(row, document=path, complete=True) for path in event.job.paths]
    return list(started.values()), complete
