"""`WritableStore`: writes an index's tables; one process at a time does.

Each write is one LanceDB commit, so a killed process leaves it complete or absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llava_tools.errors import IndexStoreError
from llava_tools.images.sources import shorten
from llava_tools.retrieval import vector_index
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.schema import DocumentRow, ImageRow, IndexMetadata, PageRow, to_arrow
from llava_tools.retrieval.store import Store
from llava_tools.retrieval.tables import (
    compact,
    connect,
    create_tables,
    delete_rows,
    index_exists,
    open_table,
    read_rows,
)
from llava_tools.retrieval.text_index import TEXT_COLUMNS, index_text

#: Files of the table of images, from which it is compacted.
MAX_FRAGMENTS = 64


class WritableStore(Store):
    """An index to write to, which it sees as its own writes leave it.

    If there is no index, `metadata` creates one, with a table for the images of pages if
    `keep_images`.

    Attributes:
        mended: Whether damaged versions of its tables were removed; the search indexes may be
            damaged, too.

    Raises:
        IndexStoreError: As `Store`; or the index cannot be created.
        MissingExtraError: LanceDB is not installed.
    """

    def __init__(
        self,
        location: IndexLocation | Path,
        metadata: IndexMetadata | None = None,
        *,
        keep_images: bool = False,
    ) -> None:
        location = IndexLocation.of(location)
        if metadata is not None and not index_exists(location):
            with location.translate_errors():
                create_tables(connect(location), metadata, keep_images)
        super().__init__(location)
        self.mended = False

    def put_documents(self, rows: Sequence[DocumentRow]) -> None:
        """Add files, or replace their rows."""
        if rows:
            with self.location.translate_errors():
                self._check_sole_writer(self._documents, "documents")
                new = to_arrow(rows, self._documents.schema)
                merge = self._documents.merge_insert("document")
                merge.when_matched_update_all().when_not_matched_insert_all().execute(new)

    def add_pages(self, rows: Sequence[PageRow]) -> None:
        """Add pages that are not stored yet."""
        if rows:
            with self.location.translate_errors():
                self._check_sole_writer(self._pages, "pages")
                self._pages.add(to_arrow(rows, self._pages.schema))

    def add_images(self, rows: Sequence[ImageRow]) -> None:
        """Add images of pages that are not stored; before the pages, so that each has its image."""
        if rows:
            with self.location.translate_errors():
                images = open_table(self._database, "images")
                merge = images.merge_insert(["digest", "page"])
                merge.when_not_matched_insert_all().execute(to_arrow(rows, images.schema))

    def remove(self, documents: Sequence[str]) -> None:
        """Remove files; `clean_up` removes their pages."""
        with self.location.translate_errors():
            delete_rows(self._documents, "document", documents)

    def clean_up(self, *, verify: bool = False) -> None:
        """Remove pages that no file has, and bring the search indexes up to date.

        `verify` reads pages and search indexes to their end, and rebuilds the indexes that are
        damaged.

        Raises:
            IndexStoreError: A page cannot be read.
        """
        digests = {row.digest for row in self.documents().values()}
        orphans = sorted(self.page_counts().keys() - digests)
        with self.location.translate_errors():
            self._check_sole_writer(self._pages, "pages")
            if verify and self.location.folder is not None:  # only folders can be mended
                read_rows(self._pages)
            delete_rows(self._pages, "digest", orphans)
            self._complete_indexes(verify)
            for table in (self._pages, self._documents):
                compact(table)
            if self.keeps_images:
                images = open_table(self._database, "images")
                delete_rows(images, "digest", orphans)
                # It is large, and compacting it copies all of it.
                many = images.stats()["fragment_stats"]["num_fragments"] > MAX_FRAGMENTS
                if orphans or many:
                    compact(images)

    def _complete_indexes(self, verify: bool) -> None:
        """Create the search indexes that a killed process did not, and damaged ones anew."""
        indexes = {index.columns[0]: index.name for index in self._pages.list_indices()}
        for column in TEXT_COLUMNS:
            if column not in indexes or (verify and not self._is_intact(indexes[column])):
                index_text(self._pages, column)
        if self.count() >= vector_index.MIN_INDEXED_PAGES and (
            "vector" not in indexes or (verify and not self._is_intact(indexes["vector"]))
        ):
            vector_index.index_vectors(self._pages)

    def _is_intact(self, index: str) -> bool:
        try:
            with self.location.translate_errors():
                self._pages.prewarm_index(index)
        except IndexStoreError:
            return False
        return True

    def _check_sole_writer(self, table: Any, name: str) -> None:
        """Raise `IndexStoreError` if another process wrote to an index in object storage."""
        if self.location.folder is None and not self._is_latest(table, name):
            raise IndexStoreError(
                f"The index in {shorten(self.location)} is being written by another process.",
                "Let one process write at a time, then index again: indexed pages are kept.",
            )
