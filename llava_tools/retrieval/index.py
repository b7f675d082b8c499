"""`PageIndex`: files go in, pages that can be searched come out; a folder holds all of it.

Three overlapping steps index pages: render, encode, write. A file is marked as started before its
pages are written, and as complete after. So a process may be killed at any moment: no page is lost
or stored twice, searches never return half a document, and the next update continues after the last
page written. Files with stored content are hashed and not parsed, files with the same content share
their pages, and a page is encoded once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from llava_tools.core.backend import Encoder
from llava_tools.embedding import Embedder
from llava_tools.errors import DocumentError, ImageError, IndexStoreError, RequestError
from llava_tools.images import ImageRef, ImageSource, open_image
from llava_tools.images.sources import shorten
from llava_tools.model import Llava
from llava_tools.retrieval.calibration import VectorCalibration, calibrate
from llava_tools.retrieval.contents import (
    IndexedDocument,
    IndexStats,
    Metadata,
    documents_at,
    dump_metadata,
    list_documents,
    measure_index,
)
from llava_tools.retrieval.files import FileScan
from llava_tools.retrieval.filters import PageFilter
from llava_tools.retrieval.ingest import plan_ingest
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.locking import write_lock
from llava_tools.retrieval.ocr import OcrEngine, find_words, load_lines
from llava_tools.retrieval.pages import Document, FileState, find_text, hash_file, read_page
from llava_tools.retrieval.planning import IndexPlan, make_plan
from llava_tools.retrieval.refused import remember_refused
from llava_tools.retrieval.schema import DocumentRow, IndexMetadata
from llava_tools.retrieval.scores import MIN_COVERAGE
from llava_tools.retrieval.search import (
    Hit,
    SearchMode,
    check_search,
    find_page,
    search_by_image,
    search_pages,
)
from llava_tools.retrieval.store import Store
from llava_tools.retrieval.updating import (
    IndexProgress,
    IndexReport,
    PageWriter,
    clean_up,
    open_to_write,
)
from llava_tools.tools.find import open_page
from llava_tools.tools.geometry import Box
from llava_tools.tools.requests import RequestSender, get_certainty, run_requests

#: Seconds after which an index in object storage is compared with what is stored there.
REFRESH_SECONDS = 2.0


class _OpenedStore:
    """A store with its calibration, and when it was last compared with the index."""

    def __init__(self, store: Store, checked: float) -> None:
        self.store = store
        self.checked = checked

    @cached_property
    def calibration(self) -> VectorCalibration:
        return VectorCalibration.load(self.store)


class PageIndex:
    """A searchable index of the pages of documents. One process may write while others search.

        index = PageIndex("my-index")
        index.update(["manuals/", "photos/"])
        hits = index.search("how to descale the machine")

    Args:
        folder: Where it is kept: a folder, or a URI of object storage such as s3://bucket/index;
            the first `update` creates it.
        embedder: Makes the vectors. By default the embedder that the index was created with, or
            the embedded model's for a new one.
        storage_options: LanceDB's options of object storage (credentials, region, endpoint), by
            default from the environment. They appear in no message; a pickle holds them.

    Raises:
        RequestError: A URI of another kind, or with credentials in it.
    """

    def __init__(
        self,
        folder: str | Path,
        embedder: Encoder | None = None,
        *,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        self.location = IndexLocation.of(folder, storage_options)
        self._embedder = embedder
        self._hashes: dict[str, tuple[str, FileState]] = {}
        self._opened: _OpenedStore | None = None

    def __repr__(self) -> str:
        return f"PageIndex({str(self.location)!r})"

    def __getstate__(self) -> dict[str, Any]:
        # Its tables, which are open files, are opened anew where it is unpickled.
        return vars(self) | {"_opened": None}

    @property
    def store(self) -> Store:
        """The index's tables as they are now, also if another process updated them.

        In object storage, they are read anew after `REFRESH_SECONDS`.

        Raises:
            IndexStoreError: There is no index, or it is damaged, or another version's.
        """
        return self._open().store

    @property
    def calibration(self) -> VectorCalibration:
        """Reliability of the vectors, measured when pages were last added or removed."""
        return self._open().calibration

    def _open(self, *, refresh: bool = False) -> _OpenedStore:
        opened, now = self._opened, time.monotonic()
        if opened is None:
            opened = _OpenedStore(Store(self.location), now)
        elif refresh or self.location.folder or now - opened.checked > REFRESH_SECONDS:
            store = opened.store.latest()
            if store is not opened.store:
                opened = _OpenedStore(store, now)
            opened.checked = now
        self._opened = opened
        return opened

    @property
    def embedder(self) -> Encoder:
        """The encoder of its vectors; by default the one that `store` names."""
        if self._embedder is None:
            self._embedder = Embedder(self.store.metadata.model)
        return self._embedder

    def plan(
        self,
        paths: Sequence[str | Path],
        *,
        keep_images: bool | None = None,
        ocr: OcrEngine | None = None,
        metadata: Metadata | None = None,
    ) -> IndexPlan:
        """Return what `update` would do, in which time and space; nothing is written.

        All files are read once, and a few new pages are drawn and encoded to measure.

        Raises:
            DocumentError: A path does not exist.
            IndexStoreError: The index is damaged; `update` mends what it can.
            ModelError: The embedder cannot be loaded.
        """
        fields = None if metadata is None else dump_metadata(metadata)
        scan = FileScan.of(_listed(paths))
        store = self.store if Store.exists(self.location) else None
        if store is None and self._embedder is None:
            self._embedder = Embedder()
        return make_plan(store, scan, self.embedder, fields, keep_images, ocr)

    def update(
        self,
        paths: Sequence[str | Path] | IndexPlan,
        progress: Callable[[IndexProgress], None] | None = None,
        *,
        keep_images: bool | None = None,
        ocr: OcrEngine | None = None,
        metadata: Metadata | None = None,
    ) -> IndexReport:
        """Index files and folders: add new ones, keep unchanged ones, remove missing ones.

        Args:
            paths: Files (PDFs, images) and folders, named by trusted code; or what `plan` returned
                for them, with which they are not read twice.
            progress: Called after each batch is written, and when all are.
            keep_images: Whether a new index keeps the pages' images (JPEGs of some 200 kB each), so
                that answers need no other files; by default it does not.
            ocr: Reads the new pages that have no text layer, such as `RapidOcr()`.
            metadata: Fields of these files for filters, texts and numbers by name, in place of
                those that they have; by default they keep them.

        Raises:
            RequestError: `metadata` with other values.
            DocumentError: A path does not exist. A file that cannot be used is skipped instead.
            IndexStoreError: Another embedder's index, in use, or the disk is full.
            ModelError: The embedder cannot be loaded.
        """
        start = time.perf_counter()
        fields = None if metadata is None else dump_metadata(metadata)
        scan = paths.scan if isinstance(paths, IndexPlan) else FileScan.of(_listed(paths))
        with write_lock(self.location):
            has_embedder = self._embedder is not None
            store = open_to_write(self.location, self._new_metadata(), keep_images)
            if isinstance(paths, IndexPlan) and paths.fits(store, fields):
                plan = paths.ingest
            else:
                plan = plan_ingest(store, scan.files, fields)
            if has_embedder or plan.jobs:  # an embedder loads its model to return its name
                self._check_embedder(store)
            skipped = [*scan.skipped, *plan.skipped]
            store.put_documents(plan.copies)
            writer = PageWriter(store, self.embedder, skipped, progress, ocr)
            added = writer.write(plan.jobs)
            remember_refused(store, skipped)
            documents = store.documents()
            unusable = {item.document for item in skipped if not item.keep}
            removed = [path for path in documents if path in unusable or scan.is_gone(path)]
            store.remove(removed)
            writer.report_search_indexes()
            clean_up(store, verify=not added and not removed)
            calibration = VectorCalibration.load(store)
            if added or removed or calibration.pages != store.count():
                calibration = calibrate(store, self.embedder)
                calibration.save(store)
            self._opened = None  # it has cached its state before the update
        return IndexReport(
            documents=len(documents) - len(removed),
            added=added,
            unchanged=plan.unchanged,
            removed=len(removed),
            skipped=tuple(skipped),
            seconds=time.perf_counter() - start,
        )

    def documents(self, where: PageFilter | None = None) -> list[IndexedDocument]:
        """Return its files by path; `where` has conditions on files only."""
        return list_documents(self.store, where)

    def remove(self, paths: Sequence[str | Path]) -> list[str]:
        """Remove files, and all files in folders, from the index; return their paths.

        The files themselves stay. An `update` with their paths adds them again.

        Raises:
            DocumentError: The index has no such file.
            IndexStoreError: There is no index, or it is in use.
        """
        with write_lock(self.location):
            store = Store(self.location)
            chosen = _listed(paths)
            removed = documents_at(store.documents().values(), chosen)
            store.remove(removed)
            clean_up(store, verify=False)
            self._opened = None
        return removed

    def stats(self) -> IndexStats:
        """Return its size and kind."""
        opened = self._open()
        return measure_index(opened.store, opened.calibration.image_weight)

    def search(
        self,
        query: str | None = None,
        k: int = 5,
        *,
        image: ImageSource | None = None,
        mode: SearchMode = "hybrid",
        rerank: Llava | RequestSender | None = None,
        where: PageFilter | None = None,
        min_coverage: float = MIN_COVERAGE,
    ) -> list[Hit]:
        """Return the pages that match a query or look like an image, best first.

        Nothing is found if nothing is near: no page has a quarter of the query's letters in its
        words, and no image exceeds the noise that was measured (`calibration`).

        Args:
            query: Words to look for. Phrases in quotation marks must be on the page.
            k: How many pages at most, 1 to 1000.
            image: An image to look for in place of words, named by trusted code.
            mode: By the pages' images and their texts (`hybrid`), or by one of both (`image`,
                `text`).
            rerank: A model that looks at the 3 k best pages and orders them by the probability
                that they show the query (VQAScore), 0 for a page whose file is gone or changed; or
                what sends requests to a model.
            where: Conditions that pages must match, see `llava_tools.retrieval.filters`.
            min_coverage: The share of the query's letters, 0 to 1, that a page found by its text
                has in its words, at least. 0 for questions, most of whose words say what is asked.

        Raises:
            RequestError: An impossible query, number or mode, both a query and an image, or
                `rerank` without a query.
            ImageError: The image cannot be used.
            IndexStoreError: There is no index here, it is damaged, or its vectors are those of
                another embedder.
            ModelError: The embedder cannot be loaded.
        """
        reference = None if image is None else open_image(image)
        check_search(query, k, mode, reference)
        if reference is not None and rerank is not None:
            raise RequestError("An image cannot be reranked.", "Leave out rerank.")
        depth = 3 * k if rerank else k
        opened = self._open()
        while True:
            try:
                hits = self._search(
                    opened, reference or query or "", depth, mode, where, min_coverage
                )
                break
            except IndexStoreError:  # perhaps files that an update has replaced meanwhile
                failed, opened = opened, self._open(refresh=True)
                if opened is failed:
                    raise
        if rerank is None or query is None:
            return hits
        hits = [replace(hit, score=self._shows(rerank, query, hit)) for hit in hits]
        return sorted(hits, key=lambda hit: -hit.score)[:k]

    def _search(
        self,
        opened: _OpenedStore,
        query: str | ImageRef,
        k: int,
        mode: SearchMode,
        where: PageFilter | None,
        min_coverage: float,
    ) -> list[Hit]:
        if mode != "text":
            self._check_embedder(opened.store)
        if isinstance(query, ImageRef):
            return search_by_image(opened.store, self.embedder, query, k, where)
        store, calibration = opened.store, opened.calibration
        return search_pages(store, calibration, self.embedder, query, k, mode, where, min_coverage)

    def _shows(self, model: Llava | RequestSender, query: str, hit: Hit) -> float:
        image, _ = open_page(self, hit)
        return 0.0 if image is None else run_requests(model, get_certainty(query, image))

    def find_page(self, handle: str) -> Hit | None:
        """Return the page whose image has a handle (`Hit.handle`); None if there is none.

        Raises:
            IndexStoreError: There is no index here, or it is damaged.
        """
        return find_page(self.store, handle)

    def open(self, hit: Hit) -> ImageRef:
        """Return a page's image, rendered from the file that was indexed.

        Its handle is `hit.handle`, unless another version of pdfium renders other pixels. If the
        file is gone or changed, the image is the JPEG that the index keeps, with another handle.

        Raises:
            DocumentError: The file is gone, or has another content now.
            ImageError: It cannot be used.
        """
        try:
            return read_page(self._document(hit), hit.page).image
        except (DocumentError, ImageError):
            kept = self.store.image(hit.digest, hit.page)
            if not kept:
                raise
            source = f"{shorten(hit.document, quote=False)}, p. {hit.page}"
            return replace(open_image(kept), source=source)

    def locate(self, hit: Hit, text: str) -> Box | None:
        """Return where a page's text layer, or OCR, has a text, in pixels of `open(hit)`."""
        try:
            box = find_text(self._document(hit), hit.page, text, hit.size)
        except DocumentError:
            if not self.store.image(hit.digest, hit.page):
                raise
            box = None  # the image that is kept has no text layer
        return box or find_words(load_lines(self.store.words(hit.digest, hit.page)), text)

    def thumbnail(self, hit: Hit) -> bytes:
        """Return the stored thumbnail of a page, a JPEG."""
        return self.store.thumbnail(hit.digest, hit.page)

    def _document(self, hit: Hit) -> Document:
        """Return a page's document: the hit's file, or a copy, that still has the content."""
        rows = self.store.sources.get(hit.digest)
        if not rows:
            name = shorten(hit.document)
            raise DocumentError(f"{name} is no longer in the index.", "Search again.")
        errors = []
        for row in sorted(rows, key=lambda row: row.document != hit.document):
            try:
                return self._open_unchanged(row)
            except DocumentError as error:
                errors.append(error)
        raise errors[0]

    def _open_unchanged(self, row: DocumentRow) -> Document:
        """Return a document whose file still has the indexed content."""
        name = shorten(row.document)
        cached = self._hashes.get(row.document)
        try:
            if cached is None or cached[1] != FileState.of(row.document):
                cached = self._hashes[row.document] = hash_file(row.document)
        except OSError as error:
            raise DocumentError(
                f"{name} cannot be read any more: {error.strerror}.", "Index again."
            ) from error
        digest, state = cached
        if digest != row.digest:
            raise DocumentError(f"{name} changed after it was indexed.", "Index again.")
        return Document(row.document, digest, row.pages, state, row.is_pdf)

    def _new_metadata(self) -> IndexMetadata | None:
        """Return what a new index is created with; None if there is one."""
        if self._embedder is None and Store.exists(self.location):
            return None
        embedder = self._embedder = self._embedder or Embedder()
        model = embedder.options.model if isinstance(embedder, Embedder) else embedder.model_name
        return IndexMetadata(model, embedder.model_name, embedder.dimensions)

    def _check_embedder(self, store: Store) -> None:
        embedder, metadata = self.embedder, store.metadata
        if (embedder.model_name, embedder.dimensions) != (metadata.clip, metadata.dimensions):
            raise IndexStoreError(
                f"The index in {shorten(self.location)} holds vectors of {metadata.clip} "
                f"({metadata.dimensions} numbers), not of {embedder.model_name} "
                f"({embedder.dimensions}).",
                "Index into another folder, or use that model.",
            )


def _listed(paths: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    return [paths] if isinstance(paths, str | Path) else paths
