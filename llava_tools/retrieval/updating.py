"""An update of an opened index: writes what changed, and brings the rest up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from llava_tools.core.backend import Encoder
from llava_tools.retrieval.calibration import VectorCalibration, calibrate
from llava_tools.retrieval.changes import DocumentJob, IndexChanges
from llava_tools.retrieval.files import FileScan, Skipped
from llava_tools.retrieval.ingest import ingest_batches
from llava_tools.retrieval.ocr import OcrEngine
from llava_tools.retrieval.progress import IndexProgress, IndexReport, StepRates
from llava_tools.retrieval.refused import remember_refused
from llava_tools.retrieval.repair import clean_up
from llava_tools.retrieval.writable_store import WritableStore


def run_update(
    store: WritableStore,
    encoder: Encoder,
    scan: FileScan,
    changes: IndexChanges,
    ocr: OcrEngine | None,
    show: Callable[[IndexProgress], None] | None,
    start: float,
) -> IndexReport:
    """Write changes, remove files that are gone or unusable, and measure the vectors again.

    `ocr` and `show`, which takes the progress, are those of `PageIndex.update`; `start` is when
    that began, by `time.perf_counter`.
    """
    skipped = [*scan.skipped, *changes.skipped]
    store.put_documents(changes.copies)
    writer = PageWriter(store, encoder, skipped, ocr, show)
    added = writer.write(changes.jobs)
    remember_refused(store, skipped)
    documents = store.documents()
    unusable = {item.document for item in skipped if not item.keep}
    removed = [path for path in documents if path in unusable or scan.is_gone(path)]
    store.remove(removed)
    writer.report_search_indexes()
    clean_up(store, verify=store.mended or not (added or removed))
    calibration = VectorCalibration.load(store)
    if added or removed or calibration.pages != store.count():
        calibrate(store, encoder).save(store)
    return IndexReport(
        documents=len(documents) - len(removed),
        added=added,
        unchanged=changes.unchanged,
        removed=len(removed),
        skipped=tuple(skipped),
        seconds=time.perf_counter() - start,
    )


@dataclass
class PageWriter:
    """Renders, encodes and writes the pages of documents, and reports progress.

    `skipped` grows by the files that could not be read to their end.
    """

    store: WritableStore
    encoder: Encoder
    skipped: list[Skipped]
    ocr: OcrEngine | None = None
    show: Callable[[IndexProgress], None] | None = None
    _progress: IndexProgress = field(init=False, repr=False, default=IndexProgress(0, 0, 0.0))

    def write(self, jobs: Sequence[DocumentJob]) -> int:
        """Write all pages of documents that are not stored; return how many."""
        total = sum(job.missing_pages for job in jobs)
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
