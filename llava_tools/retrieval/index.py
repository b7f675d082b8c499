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
from pathlib import Path

from llava_tools.core.backend import Encoder
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef, ImageSource, open_image
from llava_tools.model import Llava
from llava_tools.retrieval.calibration import VectorCalibration
from llava_tools.retrieval.changes import find_changes
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
from llava_tools.retrieval.hit_pages import HitPages
from llava_tools.retrieval.index_encoder import IndexEncoder
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.locking import write_lock
from llava_tools.retrieval.ocr import OcrEngine
from llava_tools.retrieval.planning import IndexPlan, make_plan
from llava_tools.retrieval.progress import IndexProgress, IndexReport
from llava_tools.retrieval.repair import clean_up, open_to_write
from llava_tools.retrieval.schema import IndexMetadata
from llava_tools.retrieval.scores import MIN_COVERAGE
from llava_tools.retrieval.search import (
    Hit,
    SearchMode,
    check_search,
    find_page,
    search_by_image,
    search_pages,
)
from llava_tools.retrieval.snapshots import LatestSnapshot, Snapshot
from llava_tools.retrieval.store import Store
from llava_tools.retrieval.tables import index_exists
from llava_tools.retrieval.updating import run_update
from llava_tools.retrieval.writable_store import WritableStore
from llava_tools.tools.find import open_page
from llava_tools.tools.geometry import Box
from llava_tools.tools.requests import RequestSender, get_certainty, run_requests


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
        self._encoder = IndexEncoder(embedder)
        self._latest = LatestSnapshot(self.location)
        self._pages = HitPages()

    def __repr__(self) -> str:
        return f"PageIndex({str(self.location)!r})"

    @property
    def store(self) -> Store:
        """The index's tables as they are now, also if another process updated them.

        In object storage, they are read anew after `snapshots.REFRESH_SECONDS`.

        Raises:
            IndexStoreError: There is no index, or it is damaged, or another version's.
        """
        return self._latest.get().store

    @property
    def calibration(self) -> VectorCalibration:
        """Reliability of the vectors, measured when pages were last added or removed."""
        return self._latest.get().calibration

    @property
    def embedder(self) -> Encoder:
        """The encoder of its vectors; by default the one that `store` names."""
        return self._encoder.known or self._encoder.of(self.store)

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
        store = self.store if index_exists(self.location) else None
        encoder = self._encoder.of(store) if store else self._encoder.of_new_index()
        return make_plan(store, scan, encoder, fields, keep_images, ocr)

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
            keep_images: Whether a new index keeps the pages' images (JPEGs of some 150 kB each) and
                the places of their words, so that answers need no other files; by default it does
                not.
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
            is_new = not index_exists(self.location)
            creation = IndexMetadata.of(self._encoder.of_new_index()) if is_new else None
            store = open_to_write(self.location, creation, keep_images)
            if isinstance(paths, IndexPlan):
                changes = paths.find_changes(store, fields)
            else:
                changes = find_changes(store, scan.files, fields)
            if self._encoder.known or changes.jobs:
                self._encoder.check(store)  # loads its model, which is not always needed
            encoder = self._encoder.of(store)
            report = run_update(store, encoder, scan, changes, ocr, progress, start)
            self._latest.forget()
        return report

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
        self._latest.get()  # raises without an index, before the lock makes its folder
        with write_lock(self.location):
            store = WritableStore(self.location)
            removed = documents_at(store.documents().values(), _listed(paths))
            store.remove(removed)
            clean_up(store, verify=False)
            self._latest.forget()
        return removed

    def stats(self) -> IndexStats:
        """Return its size and kind."""
        latest = self._latest.get()
        return measure_index(latest.store, latest.calibration.image_weight)

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
        words, and no image is nearer than noise is on average (`calibration`).

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
        wanted = reference or query or ""
        hits = self._latest.read(
            lambda snapshot: self._search(snapshot, wanted, depth, mode, where, min_coverage)
        )
        if rerank is None or query is None:
            return hits
        hits = [replace(hit, score=self._shows(rerank, query, hit)) for hit in hits]
        return sorted(hits, key=lambda hit: -hit.score)[:k]

    def _search(
        self,
        snapshot: Snapshot,
        query: str | ImageRef,
        k: int,
        mode: SearchMode,
        where: PageFilter | None,
        min_coverage: float,
    ) -> list[Hit]:
        store, calibration = snapshot.store, snapshot.calibration
        by_text = mode == "text" or (mode == "hybrid" and not snapshot.has_useful_vectors)
        if isinstance(query, str) and by_text:  # without loading the embedder
            return search_pages(store, calibration, None, query, k, mode, where, min_coverage)
        encoder = self._encoder.check(store)
        if isinstance(query, ImageRef):
            return search_by_image(store, encoder, query, k, where)
        return search_pages(store, calibration, encoder, query, k, mode, where, min_coverage)

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
        return self._pages.open(self.store, hit)

    def locate(self, hit: Hit, text: str) -> Box | None:
        """Return where a page's text layer, or OCR, has a text, in pixels of `open(hit)`.

        If the file is gone or changed, an index that keeps images has the places, too.

        Raises:
            DocumentError: The file is gone, or has another content now.
        """
        return self._pages.locate(self.store, hit, text)

    def thumbnail(self, hit: Hit) -> bytes:
        """Return the stored thumbnail of a page, a JPEG."""
        return self._latest.read(lambda latest: latest.store.thumbnail(hit.digest, hit.page))


def _listed(paths: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    return [paths] if isinstance(paths, str | Path) else paths
