"""The writing half of an update: opens or mends an index, and writes the pages of new documents."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Literal

from llava_tools.core.backend import Encoder
from llava_tools.errors import IndexStoreError
from llava_tools.images.sources import shorten
from llava_tools.retrieval.files import Skipped
from llava_tools.retrieval.ingest import DocumentJob, ingest_batches
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.ocr import OcrEngine
from llava_tools.retrieval.repair import remove_damaged_versions
from llava_tools.retrieval.schema import IndexMetadata
from llava_tools.retrieval.store import Store


@dataclass(frozen=True)
class StepRates:
    """Pages per second of each step, as if it ran alone; 0 before its first page.

    The steps overlap, so the slowest one decides how long an update takes.
    """

    render: float = 0.0
    encode: float = 0.0
    write: float = 0.0


@dataclass(frozen=True)
class IndexProgress:
    """Progress of an update.

    Attributes:
        done: Pages written in this run.
        total: Pages to write in this run.
        seconds: Since the first page was started.
        rates: Speed of rendering, encoding and writing.
        step: `pages`, or `search indexes` when all pages are written.
    """

    done: int
    total: int
    seconds: float
    rates: StepRates = StepRates()
    step: Literal["pages", "search indexes"] = "pages"

    @property
    def rate(self) -> float:
        """Pages per second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float:
        """Seconds until all pages are written, as fast as until now."""
        return (self.total - self.done) / self.rate if self.done else float("inf")


@dataclass(frozen=True)
class IndexReport:
    """Result of an update.

    Attributes:
        documents: Files in the index now.
        added: Pages that were encoded and written.
        unchanged: Files that were stored already.
        removed: Files that no longer exist or can no longer be used.
        skipped: Files that were left out, with the reasons.
        seconds: Time of the whole update.
    """

    documents: int
    added: int
    unchanged: int
    removed: int
    skipped: tuple[Skipped, ...]
    seconds: float


def open_to_write(
    location: IndexLocation, metadata: IndexMetadata | None, keep_images: bool | None
) -> Store:
    """Open an index after mending it, or create it; only while no other process writes.

    Raises:
        IndexStoreError: It cannot be mended, or is kept in another way than `keep_images`.
    """
    try:
        store = _open_and_check(location, metadata, keep_images)
    except IndexStoreError:
        if not remove_damaged_versions(location):
            raise
        store = _open_and_check(location, metadata, keep_images)
    if keep_images is not None and keep_images != store.keeps_images:
        state = "keeps" if store.keeps_images else "does not keep"
        raise IndexStoreError(
            f"The index in {shorten(location)} {state} the images of pages, from its creation on.",
            "Index into another folder to change that.",
        )
    return store


def _open_and_check(
    location: IndexLocation, metadata: IndexMetadata | None, keep_images: bool | None
) -> Store:
    store = Store(location, metadata, keep_images=bool(keep_images))
    store.documents()
    store.page_counts()  # opens each file of the table
    return store


def clean_up(store: Store, *, verify: bool) -> None:
    """Run `Store.clean_up`, after mending the index if that fails.

    Raises:
        IndexStoreError: It cannot be mended, or writes were lost.
    """
    try:
        store.clean_up(verify=verify)
    except IndexStoreError:  # perhaps an old version that cannot be removed, since it is damaged
        if not remove_damaged_versions(store.location):
            raise
        mended = Store(store.location)
        if mended.versions != store.versions:
            raise IndexStoreError(
                f"The index in {shorten(store.location)} was damaged, and its last writes are "
                "removed.",
                "Index again: they are read again.",
            ) from None
        mended.clean_up(verify=verify)


@dataclass
class PageWriter:
    """Renders, encodes and writes the pages of documents, and reports progress.

    `skipped` grows by the files that could not be read to their end.
    """

    store: Store
    encoder: Encoder
    skipped: list[Skipped]
    show: Callable[[IndexProgress], None] | None = None
    ocr: OcrEngine | None = None
    _progress: IndexProgress = field(init=False, repr=False, default=IndexProgress(0, 0, 0.0))

    def write(self, jobs: Sequence[DocumentJob]) -> int:
        """Write all pages of documents that are not stored; return how many."""
        total = sum(job.document.pages - len(job.stored) for job in jobs)
        start, done = time.perf_counter(), 0
        render = encode = write = 0.0
        keep_images = self.store.keeps_images
        with closing(ingest_batches(jobs, self.encoder, self.ocr, keep_images)) as batches:
            for batch in batches:
                begin = time.perf_counter()
                self.store.put_documents(batch.started)
                self.store.add_images(batch.images)  # first: stored pages have their images
                self.store.add_pages(batch.pages)
                self.store.put_documents(batch.complete)
                self.skipped += batch.skipped
                done += len(batch.pages)
                total -= batch.skipped_pages
                render += batch.render_seconds
                encode += batch.encode_seconds
                now = time.perf_counter()
                write += now - begin
                rates = StepRates(*(done / s if s else 0.0 for s in (render, encode, write)))
                self._report(IndexProgress(done, total, now - start, rates))
        return done

    def report_search_indexes(self) -> None:
        """Report that all pages are written."""
        self._report(replace(self._progress, step="search indexes"))

    def _report(self, progress: IndexProgress) -> None:
        self._progress = progress
        if self.show is not None:
            self.show(progress)
