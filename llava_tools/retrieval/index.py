"""`PageIndex`: files go in, and pages that can be searched come out; a folder holds all of it.

Indexing is three steps that overlap: pages are drawn, encoded, written. A batch of pages is written
in one commit between two others: its files are noted as begun, and then as complete. So a process
may be killed at any moment: nothing is lost or doubled, half a document is never found, and the
next run goes on from the page that was written last. Files whose content is known are not read
further, two files of one content share their pages, and a page is never encoded twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llava_tools.core.backend import Encoder
from llava_tools.embedding import Embedder
from llava_tools.errors import DocumentError, IndexStoreError
from llava_tools.images import ImageRef
from llava_tools.images.sources import short
from llava_tools.model import Llava
from llava_tools.retrieval.calibration import VectorCalibration, kept, measured
from llava_tools.retrieval.files import Skipped, find, is_gone
from llava_tools.retrieval.ingest import BATCH, Plan, drawn, encoded, plan
from llava_tools.retrieval.pages import Document, digest_of, place_of, read_page
from llava_tools.retrieval.pipeline import ahead
from llava_tools.retrieval.search import Hit, Mode, check, find_pages, reranked
from llava_tools.retrieval.store import Meta, Store, locked
from llava_tools.tools.geometry import Box


@dataclass(frozen=True)
class Progress:
    """How far indexing is.

    Attributes:
        done: Pages written in this run.
        total: Pages to write in this run.
        seconds: Since the first page was begun.
    """

    done: int
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Pages a second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Report:
    """What a run did.

    Attributes:
        documents: Files in the index now.
        added: Pages that were encoded and written.
        unchanged: Files whose content was known.
        removed: Files that are no longer there.
        skipped: Files that were left out, with the reasons.
        seconds: All of it.
    """

    documents: int
    added: int
    unchanged: int
    removed: int
    skipped: tuple[Skipped, ...]
    seconds: float


class PageIndex:
    """Pages of documents, to be searched. One process may write while others search.

        index = PageIndex("my-index")
        index.update(["manuals/", "photos/"])
        hits = index.search("how to descale the machine")

    Args:
        folder: Where it is kept; made by the first `update`.
        embedder: Whose vectors. By default that which the index was made with, or the embedded
            model's for a new one.
    """

    def __init__(self, folder: str | Path, embedder: Encoder | None = None) -> None:
        self.folder = Path(folder).expanduser()
        self._embedder = embedder
        self._store: Store | None = None
        self._trust: VectorCalibration | None = None

    @property
    def store(self) -> Store:
        """Its tables.

        Raises:
            IndexStoreError: There is no index here, or it is another embedder's.
        """
        if self._store is None:
            self._store = Store(self.folder)
        return self._store

    @property
    def trust(self) -> VectorCalibration:
        """What its vectors were found to be worth when pages were last added or removed."""
        if self._trust is None:
            self._trust = kept(self.folder)
        return self._trust

    @property
    def embedder(self) -> Encoder:
        """Whose vectors it holds.

        Raises:
            IndexStoreError: There is no index here, or it is another embedder's.
        """
        if self._embedder is None:
            self._embedder = Embedder(self.store.meta.model)
        return self._embedder

    def update(
        self, paths: Sequence[str | Path], progress: Callable[[Progress], None] | None = None
    ) -> Report:
        """Index files and folders: add what is new, leave what is known, remove what is gone.

        Args:
            paths: Files (PDFs, images) and folders, as your own code names them.
            progress: Called whenever a batch is written.

        Raises:
            DocumentError: A path does not exist. A file that cannot be used is skipped instead.
            IndexStoreError: Another embedder's index, in use, or the disk is full.
            ModelError: The embedder cannot be loaded.
        """
        begun = time.perf_counter()
        found = find([paths] if isinstance(paths, str | Path) else paths)
        with locked(self.folder):
            given = self._embedder is not None
            store = self._store = self._opened()
            todo = plan(store, found.files)
            if given or todo.work:  # asking an embedder for its name loads its model
                self._check(store)
            skipped = [*found.skipped, *todo.skipped]
            store.put_documents(todo.copies)
            added = self._add(store, todo, skipped, progress)
            rows = store.documents()
            bad = {skip.document for skip in skipped if not skip.keep}
            gone = [name for name in rows if name in bad or is_gone(name, found)]
            store.remove(gone)
            store.sweep()
            if added or gone or kept(self.folder).pages != store.count():
                measured(store, self.embedder).keep(self.folder)
            self._store = Store(self.folder)  # what was found of it before is out of date
            self._trust = None
            return Report(
                documents=len(rows) - len(gone),
                added=added,
                unchanged=todo.unchanged,
                removed=len(gone),
                skipped=tuple(skipped),
                seconds=time.perf_counter() - begun,
            )

    def search(
        self,
        query: str,
        k: int = 5,
        *,
        mode: Mode = "hybrid",
        rerank: Llava | None = None,
    ) -> list[Hit]:
        """Find the pages that words are about, best first.

        Args:
            query: What is looked for.
            k: How many pages at most, >= 1.
            mode: By the pages' images and their texts (`hybrid`), or by one of both (`image`,
                `text`).
            rerank: Who looks at the 3 k best pages to put those first that show it (VQAScore).

        Raises:
            RequestError: An impossible query, number or mode.
            IndexStoreError: There is no index here.
            ModelError: The embedder cannot be loaded.
        """
        check(query, k, mode)
        many = 3 * k if rerank else k
        hits = find_pages(self.store, self.trust, self.embedder, query, many, mode)
        if rerank is None:
            return hits
        return reranked(hits, lambda hit: rerank.score(query, self.open(hit)))[:k]

    def open(self, hit: Hit) -> ImageRef:
        """Return a page's image, drawn from the file that it was indexed from.

        Raises:
            DocumentError: The file is gone, or has another content now.
            ImageError: It cannot be used.
        """
        page = read_page(self._document(hit), hit.page).image
        # One content, one handle, even where another version of pdfium draws other pixels.
        return replace(page, handle=hit.handle)

    def locate(self, hit: Hit, words: str) -> Box | None:
        """Return where words stand on a page by its text layer, in pixels of `open(hit)`."""
        return place_of(self._document(hit), hit.page, words, hit.size)

    def thumbnail(self, hit: Hit) -> bytes:
        """Return a page's image as a small JPEG, out of the index."""
        return self.store.thumbnail(hit.digest, hit.page)

    def _document(self, hit: Hit) -> Document:
        """Return a page's document, if its file is still what was indexed."""
        name = short(hit.document)
        row = self.store.sources.get(hit.digest)
        if row is None:
            raise DocumentError(f"{name} is no longer in the index.", "Search again.")
        try:
            digest, stamp = digest_of(row.document)
        except OSError as error:
            raise DocumentError(
                f"{name} cannot be read any more: {error.strerror}.", "Index again."
            ) from error
        if digest != row.digest:
            raise DocumentError(f"{name} changed after it was indexed.", "Index again.")
        return Document(row.document, digest, row.pages, stamp, row.is_pdf)

    def _opened(self) -> Store:
        """Open the index for writing, or make it."""
        if self._embedder is None and (self.folder / "pages.lance").is_dir():
            return Store(self.folder)
        embedder = self._embedder = self._embedder or Embedder()
        model = embedder.options.model if isinstance(embedder, Embedder) else embedder.model_name
        meta = Meta(model, embedder.model_name, embedder.dimensions)
        return Store(self.folder, meta)

    def _check(self, store: Store) -> None:
        """Refuse an index of another embedder."""
        embedder, meta = self.embedder, store.meta
        if (embedder.model_name, embedder.dimensions) != (meta.clip, meta.dimensions):
            raise IndexStoreError(
                f"The index in {str(self.folder)!r} holds vectors of {meta.clip}, not of "
                f"{embedder.model_name}.",
                "Index into another folder, or use that model.",
            )

    def _add(
        self,
        store: Store,
        todo: Plan,
        skipped: list[Skipped],
        progress: Callable[[Progress], None] | None,
    ) -> int:
        """Draw, encode and write the pages of new documents; return how many."""
        total = sum(work.document.pages - len(work.known) for work in todo.work)
        begun, done = time.perf_counter(), 0
        with (
            ahead(drawn(todo.work), 2 * BATCH) as events,
            ahead(encoded(events, self.embedder), 2) as batches,
        ):
            for batch in batches:
                store.put_documents(batch.begun)
                store.add_pages(batch.pages)
                store.put_documents(batch.complete)
                skipped += batch.skipped
                done += len(batch.pages)
                total -= batch.dropped
                if progress is not None:
                    progress(Progress(done, total, time.perf_counter() - begun))
        return done
