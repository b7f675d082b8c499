"""What an update will do before it starts: documents, pages, time, space, and the vision tower.

Time and space are measured on a few of the new pages, which are drawn and encoded for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llava_tools.core.backend import Encoder
from llava_tools.embedding import Embedder
from llava_tools.errors import DocumentError, ImageError
from llava_tools.retrieval.files import FileScan, Skipped
from llava_tools.retrieval.ingest import (
    DocumentJob,
    IngestPlan,
    make_jpeg,
    make_thumbnail,
    plan_ingest,
    read_text,
)
from llava_tools.retrieval.ocr import OcrEngine
from llava_tools.retrieval.pages import PageImage, read_pages
from llava_tools.retrieval.store import Store

#: Pages that are drawn and encoded to measure.
SAMPLE_PAGES = 4
#: Bytes of an index for each byte of text: the text, two derived columns, and their search indexes.
_BYTES_PER_TEXT = 5
#: Bytes of a page's other columns.
_BYTES_PER_ROW = 200


@dataclass(frozen=True)
class IndexPlan:
    """What an update will do. `PageIndex.update` takes it in place of its paths.

    Attributes:
        documents: Files to read: those with new content.
        pages: Pages to encode.
        unchanged: Files that are stored already.
        skipped: Files that will be left out, with the reasons.
        model: The LLaVA whose vision tower makes the vectors.
        clip: The CLIP that this tower comes from; empty if there is nothing to encode.
        is_toy: Whether this is the embedded model, whose vision tower knows drawn scenes only.
        keeps_images: Whether the index keeps the images of pages.
        seconds: Estimated time.
        bytes: Estimated size of what is added.
    """

    documents: int
    pages: int
    unchanged: int
    skipped: tuple[Skipped, ...]
    model: str
    clip: str
    is_toy: bool
    keeps_images: bool
    seconds: float
    bytes: int
    scan: FileScan = field(repr=False, compare=False)
    ingest: IngestPlan = field(repr=False, compare=False)
    metadata: str | None = field(repr=False)
    versions: tuple[int, int] | None = field(repr=False)

    def fits(self, store: Store, metadata: str | None) -> bool:
        """Return whether an index, and the fields of its files, are those of the plan."""
        unchanged = not store.documents() if self.versions is None else False
        return self.metadata == metadata and (unchanged or self.versions == store.versions)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        names = ("documents", "pages", "unchanged", "model", "clip", "is_toy", "keeps_images")
        skipped = [{"document": item.document, "reason": item.reason} for item in self.skipped]
        figures = {"seconds": round(self.seconds, 1), "bytes": self.bytes, "skipped": skipped}
        return {name: getattr(self, name) for name in names} | figures


def make_plan(
    store: Store | None,
    scan: FileScan,
    encoder: Encoder,
    metadata: str | None,
    keep_images: bool | None,
    ocr: OcrEngine | None,
) -> IndexPlan:
    """Compare files with an index, None for a new one, and measure what the new ones cost."""
    ingest = plan_ingest(store, scan.files, metadata)
    keeps_images = bool(keep_images) if store is None else store.keeps_images
    cost = measure_pages(ingest.jobs, encoder, keeps_images, ocr)
    pages = sum(job.document.pages - len(job.stored) for job in ingest.jobs)
    if store is not None:
        model = store.metadata.model
    else:
        model = encoder.options.model if isinstance(encoder, Embedder) else encoder.model_name
    return IndexPlan(
        documents=sum(1 + len(job.duplicates) for job in ingest.jobs) + len(ingest.copies),
        pages=pages,
        unchanged=ingest.unchanged,
        skipped=(*scan.skipped, *ingest.skipped),
        model=model,
        clip=encoder.model_name if ingest.jobs else "",
        is_toy=model == "tiny",
        keeps_images=keeps_images,
        seconds=cost.seconds * pages,
        bytes=round(cost.bytes * pages),
        scan=scan,
        ingest=ingest,
        metadata=metadata,
        versions=None if store is None else store.versions,
    )


@dataclass(frozen=True)
class PageCost:
    """Seconds and bytes of a page, on average."""

    seconds: float = 0.0
    bytes: float = 0.0


def measure_pages(
    jobs: Sequence[DocumentJob], encoder: Encoder, keep_images: bool, ocr: OcrEngine | None = None
) -> PageCost:
    """Draw and encode a few new pages, and return what a page costs.

    Drawing and encoding overlap in an update, but share the processor, so their times add up; on a
    GPU they do not, and the update is faster.
    """
    start = time.perf_counter()
    pages = [page for job in _spread(jobs) if (page := _first_page(job)) is not None]
    if not pages:
        return PageCost()
    if ocr is not None:
        pages = [page if page.text else read_text(page, ocr) for page in pages]
    stored = sum(len(make_thumbnail(page.image)) for page in pages)
    if keep_images:
        stored += sum(len(make_jpeg(page.image)) for page in pages)
    seconds = time.perf_counter() - start
    images = [page.image for page in pages]
    encoder.embed_images(images[:1])  # loads the model
    start = time.perf_counter()
    vectors = encoder.embed_images(images)
    seconds += time.perf_counter() - start
    texts = sum(len(page.text.encode()) for page in pages)
    size = stored + _BYTES_PER_TEXT * texts
    fixed = 4 * len(vectors[0]) + _BYTES_PER_ROW
    return PageCost(seconds / len(pages), size / len(pages) + fixed)


def _spread(jobs: Sequence[DocumentJob]) -> list[DocumentJob]:
    """Return a few jobs, spread evenly."""
    return list(jobs[:: max(1, -(-len(jobs) // SAMPLE_PAGES))])


def _first_page(job: DocumentJob) -> PageImage | None:
    """Return the page in the middle of what is to be read; None if it cannot be drawn."""
    numbers = sorted(set(range(1, job.document.pages + 1)) - job.stored)
    skip = set(range(1, job.document.pages + 1)) - {numbers[len(numbers) // 2]}
    try:
        return next(read_pages(job.document, skip))
    except (DocumentError, ImageError, OSError):
        return None
