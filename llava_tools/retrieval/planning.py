"""What an update will do before it starts: documents, pages, time, space, and the vision tower.

Time and space are measured on a few of the new pages, which are drawn and encoded for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llava_tools.core.backend import Encoder
from llava_tools.errors import DocumentError, ImageError
from llava_tools.retrieval.changes import DocumentJob, IndexChanges, find_changes
from llava_tools.retrieval.files import FileScan, Skipped
from llava_tools.retrieval.ingest import read_text
from llava_tools.retrieval.jpegs import make_jpeg, make_thumbnail
from llava_tools.retrieval.ocr import OcrEngine, dump_lines
from llava_tools.retrieval.pages import PageImage, read_page, read_words
from llava_tools.retrieval.refused import refused_reasons
from llava_tools.retrieval.schema import llava_name
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
    changes: IndexChanges = field(repr=False, compare=False)
    metadata: str | None = field(repr=False)
    versions: tuple[int, int] | None = field(repr=False)

    def find_changes(self, store: Store, metadata: str | None) -> IndexChanges:
        """Return what to write: as planned, if the index and the fields of files are as they were.

        If not, files are compared again; those that the plan refuses are not drawn again.
        """
        same = self.versions == store.versions
        if self.versions is None:  # there was no index
            same = not store.documents()
        if same and self.metadata == metadata:
            return self.changes
        return find_changes(store, self.scan.files, metadata, refused_reasons(self.skipped))

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        names = ("documents", "pages", "unchanged", "model", "clip", "is_toy", "keeps_images")
        skipped = [item.as_dict() for item in self.skipped]
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
    changes = find_changes(store, scan.files, metadata)
    keeps_images = bool(keep_images) if store is None else store.keeps_images
    sample = draw_sample(changes.jobs, keeps_images)
    changes = without_refused(changes, sample.refused)
    cost = measure_pages(sample, encoder, keeps_images, ocr)
    model = llava_name(encoder) if store is None else store.metadata.model
    return IndexPlan(
        documents=sum(len(job.paths) for job in changes.jobs) + len(changes.copies),
        pages=changes.pages,
        unchanged=changes.unchanged,
        skipped=(*scan.skipped, *changes.skipped),
        model=model,
        clip=encoder.model_name if changes.jobs else "",
        is_toy=model == "tiny",
        keeps_images=keeps_images,
        seconds=cost.seconds * changes.pages,
        bytes=round(cost.bytes * changes.pages),
        scan=scan,
        changes=changes,
        metadata=metadata,
        versions=None if store is None else store.versions,
    )


@dataclass
class PageSample:
    """A few new pages, the seconds that drawing them took, and files that cannot be drawn."""

    pages: list[PageImage] = field(default_factory=list)
    seconds: float = 0.0
    refused: list[Skipped] = field(default_factory=list)


def draw_sample(jobs: Sequence[DocumentJob], keep_images: bool) -> PageSample:
    """Draw the page in the middle of what is to be read of a few documents."""
    sample = PageSample()
    jobs = [job for job in jobs if job.missing_pages]
    for job in jobs[:: max(1, -(-len(jobs) // SAMPLE_PAGES))]:
        missing = sorted(set(range(1, job.document.pages + 1)) - job.stored)
        start = time.perf_counter()
        try:
            page = read_page(job.document, missing[len(missing) // 2])
            sample.pages.append(read_words(job.document, page) if keep_images else page)
        except (DocumentError, ImageError, OSError) as error:
            digest = job.document.digest
            skipped = [Skipped.from_error(path, error, digest) for path in job.paths]
            sample.refused += [item for item in skipped if item.digest]
        else:
            sample.seconds += time.perf_counter() - start
    return sample


def without_refused(changes: IndexChanges, refused: Sequence[Skipped]) -> IndexChanges:
    """Return changes in which some files are skipped, since another attempt would fail, too."""
    digests = {item.digest for item in refused}
    return replace(
        changes,
        jobs=[job for job in changes.jobs if job.document.digest not in digests],
        skipped=[*changes.skipped, *refused],
    )


@dataclass(frozen=True)
class PageCost:
    """Seconds and bytes of a page, on average."""

    seconds: float = 0.0
    bytes: float = 0.0


def measure_pages(
    sample: PageSample, encoder: Encoder, keep_images: bool, ocr: OcrEngine | None
) -> PageCost:
    """Encode a few pages, and return what a page costs.

    Drawing and encoding overlap in an update, but share the processor, so their times add up; on a
    GPU they do not, and the update is faster.
    """
    if not sample.pages:
        return PageCost()
    pages = sample.pages
    start = time.perf_counter()
    if ocr is not None:
        pages = [page if page.text else read_text(page, ocr) for page in pages]
    size = sum(len(make_thumbnail(page.image)) for page in pages)
    if keep_images:
        size += sum(len(make_jpeg(page.image)) for page in pages)
    seconds = sample.seconds + time.perf_counter() - start
    images = [page.image for page in pages]
    encoder.embed_images(images[:1])  # loads the model
    start = time.perf_counter()
    vectors = encoder.embed_images(images)
    seconds += time.perf_counter() - start
    size += sum(_BYTES_PER_TEXT * len(page.text.encode()) for page in pages)
    size += sum(len(dump_lines(page.lines).encode()) for page in pages)
    fixed = 4 * len(vectors[0]) + _BYTES_PER_ROW
    return PageCost(seconds / len(pages), size / len(pages) + fixed)
