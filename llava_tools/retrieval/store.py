"""An index's tables in LanceDB: pages stored by content, and the files that have that content.

`pages` has a row for each page of each content (the document's digest). `documents` has one for
each file, which records whether all pages of its content are stored. A search returns only pages of
complete files. Each write is one LanceDB commit, so a killed process leaves it complete or absent.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from llava_tools.errors import IndexStoreError
from llava_tools.images.sources import shorten
from llava_tools.retrieval.filters import PageFilter
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.schema import (
    DocumentRow,
    ImageRow,
    IndexMetadata,
    PageMatch,
    PageRow,
    is_one_of,
    make_schemas,
    quoted,
    read_metadata,
    to_arrow,
)
from llava_tools.retrieval.tables import (
    check_columns,
    connect,
    create_tables,
    delete_rows,
    open_table,
    table_names,
)
from llava_tools.retrieval.text_index import TEXT_COLUMNS, index_text, text_query

#: Pages from which vectors get an index; with fewer, a search compares all vectors.
MIN_INDEXED_PAGES = 10_000
#: Partitions of that index. A search probes all of them, so it also finds pages added after the
#: index was built; only the 8-bit codes save time.
PARTITIONS = 64
#: A search re-ranks this multiple of `limit` candidates by their full vectors.
REFINE_FACTOR = 2
#: Old versions of the tables are kept this long, for searches that are reading them.
KEEP_VERSIONS = timedelta(minutes=10)
#: Files of the table of images, from which it is compacted.
MAX_FRAGMENTS = 64
_COLUMNS = ["digest", "page", "handle", "width", "height", "text"]
#: Pages without a text layer: images, and scans without OCR.
_WITHOUT_TEXT = "text = ''"


class Store:
    """An opened index.

    Searches see it as it was when opened; `latest` returns it as it is now. If there is no index,
    `metadata` creates one, which has a table for the images of pages with `keep_images`.

    Raises:
        IndexStoreError: There is no index and no `metadata` to create one, or the index is
            damaged, or another version's, or another program's.
        MissingExtraError: LanceDB is not installed.
    """

    def __init__(
        self,
        location: IndexLocation | Path,
        metadata: IndexMetadata | None = None,
        *,
        keep_images: bool = False,
    ) -> None:
        self.location = IndexLocation.of(location)
        where = shorten(self.location)
        with self.location.translate_errors():
            if metadata is None and not self.exists(self.location):  # connecting makes the folder
                raise IndexStoreError(
                    f"There is no index in {where}.",
                    f"Make one: llava-tools index PATHS --to {self.location}",
                )
            self._database = connect(self.location)
            if metadata is not None and not self.exists(self.location, self._database):
                create_tables(self._database, metadata, keep_images)
            self._identity = self._read_identity()
            self._documents = open_table(self._database, "documents")
            self._pages = open_table(self._database, "pages")
            self.metadata = read_metadata(self._pages.schema, str(self.location))
            schemas = make_schemas(self.metadata)
            for table, schema in zip((self._documents, self._pages), schemas, strict=True):
                check_columns(table, schema, where)

    @staticmethod
    def exists(location: IndexLocation | Path, database: Any = None) -> bool:
        """Return whether an index is there."""
        location = IndexLocation.of(location)
        if location.folder is not None:
            return (location.folder / "pages.lance").is_dir()
        with location.translate_errors():
            return "pages" in table_names(database or connect(location))

    def latest(self) -> Store:
        """Return this store, or the index as it is now if it was written meanwhile."""
        with self.location.translate_errors():
            if self._read_identity() == self._identity:
                tables = [(self._documents, "documents"), (self._pages, "pages")]
                if all(self._is_latest(table, name) for table, name in tables):
                    return self
        return Store(self.location)

    @property
    def versions(self) -> tuple[int, int]:
        """Numbers of the last writes that this store sees, of both tables."""
        return self._documents.version, self._pages.version

    def _read_identity(self) -> int | None:
        """Return what differs between a folder's index and another one that replaces it."""
        if self.location.folder is None or not self.exists(self.location):
            return None
        return (self.location.folder / "pages.lance").stat().st_ino

    def _is_latest(self, table: Any, name: str) -> bool:
        return bool(self._database.open_table(name).version == table.version)

    def _check_sole_writer(self, table: Any, name: str) -> None:
        """Raise `IndexStoreError` if another process wrote to an index in object storage."""
        if self.location.folder is None and not self._is_latest(table, name):
            raise IndexStoreError(
                f"The index in {shorten(self.location)} is being written by another process.",
                "Let one process write at a time, then index again: indexed pages are kept.",
            )

    def documents(self) -> dict[str, DocumentRow]:
        """Return every file by its path."""
        with self.location.translate_errors():
            rows = self._documents.to_arrow().to_pylist()
        return {row["document"]: DocumentRow(**row) for row in rows}

    @cached_property
    def sources(self) -> dict[str, list[DocumentRow]]:
        """The complete files of each digest that has one, ordered by path."""
        sources: dict[str, list[DocumentRow]] = {}
        for row in sorted(self.documents().values(), key=lambda row: row.document):
            if row.complete:
                sources.setdefault(row.digest, []).append(row)
        return sources

    def source(self, digest: str) -> DocumentRow:
        """Return a file with a content that has one: the first by path that is still there."""
        first, *others = self.sources[digest]
        if not others or os.path.isfile(first.document):
            return first
        return next((row for row in others if os.path.isfile(row.document)), first)

    @cached_property
    def _hidden(self) -> list[str]:
        """Digests whose pages a search must not return: of incomplete or removed files."""
        return sorted(self.page_counts().keys() - self.sources.keys())

    def page_counts(self) -> Counter[str]:
        """Return how many pages of each digest are stored."""
        with self.location.translate_errors():
            column = self._pages.search().select(["digest"]).to_arrow()["digest"]
            return Counter(column.to_pylist())

    def count(self, *, without_text: bool = False) -> int:
        """Return how many pages are stored."""
        with self.location.translate_errors():
            return int(self._pages.count_rows(_WITHOUT_TEXT if without_text else None))

    def sample(self, limit: int, *, without_text: bool = False) -> list[dict[str, Any]]:
        """Return text and vector of at most `limit` pages, spread evenly over the index."""
        query = self._pages.search().select(["page"]).with_row_id(True)
        if without_text:
            query = query.where(_WITHOUT_TEXT)
        with self.location.translate_errors():
            ids = query.to_arrow()["_rowid"].to_pylist()
            ids = ids[:: max(1, -(-len(ids) // limit))]
            if not ids:
                return []
            return list(self._pages.take_row_ids(ids).select(["text", "vector"]).to_list())

    def page_numbers(self, digest: str) -> set[int]:
        """Return the numbers of a content's pages that are stored."""
        query = self._pages.search().where(f"digest = {quoted(digest)}").select(["page"])
        with self.location.translate_errors():
            return {row["page"] for row in query.to_list()}

    def thumbnail(self, digest: str, page: int) -> bytes:
        """Return a page's thumbnail, a JPEG; empty if the page is not stored."""
        where = f"digest = {quoted(digest)} AND page = {page}"
        with self.location.translate_errors():
            rows = self._pages.search().where(where).select(["thumbnail"]).limit(1).to_list()
        return bytes(rows[0]["thumbnail"]) if rows else b""

    def find_page(self, handle: str) -> dict[str, Any] | None:
        """Return a page by its image's handle, the first one that a search may return."""
        query = self._pages.search().where(f"handle = {quoted(handle)}").select(_COLUMNS)
        with self.location.translate_errors():
            rows = query.to_list()
        return next((row for row in rows if row["digest"] in self.sources), None)

    def words(self, digest: str, page: int) -> str:
        """Return the places of a page's text if OCR read it, see `ocr.dump_lines`; else empty."""
        where = f"digest = {quoted(digest)} AND page = {page}"
        with self.location.translate_errors():
            rows = self._pages.search().where(where).select(["words"]).limit(1).to_list()
        return str(rows[0]["words"]) if rows else ""

    @cached_property
    def keeps_images(self) -> bool:
        """Whether it keeps the images of pages, which is so from its creation on."""
        with self.location.translate_errors():
            return "images" in table_names(self._database)

    def image(self, digest: str, page: int) -> bytes:
        """Return a page's image, a JPEG; empty if it is not kept."""
        if not self.keeps_images:
            return b""
        where = f"digest = {quoted(digest)} AND page = {page}"
        with self.location.translate_errors():
            images = open_table(self._database, "images")
            rows = images.search().where(where).select(["image"]).limit(1).to_list()
        return bytes(rows[0]["image"]) if rows else b""

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
        """Remove pages that no file has, and bring the indexes up to date.

        `verify` reads the whole indexes, and rebuilds those that are damaged.
        """
        digests = {row.digest for row in self.documents().values()}
        orphans = sorted(self.page_counts().keys() - digests)
        with self.location.translate_errors():
            self._check_sole_writer(self._pages, "pages")
            delete_rows(self._pages, "digest", orphans)
            self._complete_indexes(verify)
            for table in (self._pages, self._documents):
                table.optimize(cleanup_older_than=KEEP_VERSIONS)
            if self.keeps_images:
                images = open_table(self._database, "images")
                delete_rows(images, "digest", orphans)
                # It is large, and compacting it copies all of it.
                many = images.stats()["fragment_stats"]["num_fragments"] > MAX_FRAGMENTS
                if orphans or many:
                    images.optimize(cleanup_older_than=KEEP_VERSIONS)

    def _complete_indexes(self, verify: bool) -> None:
        """Create the indexes that are missing, since the process was killed, and damaged ones."""
        indexes = {index.columns[0]: index.name for index in self._pages.list_indices()}
        for column in TEXT_COLUMNS:
            if column not in indexes or (verify and not self._is_intact(indexes[column])):
                index_text(self._pages, column)
        if self.count() >= MIN_INDEXED_PAGES and (
            "vector" not in indexes or (verify and not self._is_intact(indexes["vector"]))
        ):
            _index_vectors(self._pages)

    def _is_intact(self, index: str) -> bool:
        try:
            with self.location.translate_errors():
                self._pages.prewarm_index(index)
        except IndexStoreError:
            return False
        return True

    def value(self, name: str) -> str:
        """Return a text that `put_value` stored; empty if there is none, or it is damaged."""
        try:
            with self.location.translate_errors():
                if "values" not in table_names(self._database):
                    return ""
                query = self._database.open_table("values").search()
                rows = query.where(f"name = {quoted(name)}").select(["value"]).limit(1).to_list()
                return str(rows[0]["value"]) if rows else ""
        except IndexStoreError:
            if self.location.folder is None:  # the network may be at fault
                raise
            return ""

    def put_value(self, name: str, value: str) -> None:
        """Store a text by a name, in place of what that name had."""
        try:
            self._put_value(name, value)
        except IndexStoreError:
            with self.location.translate_errors():
                self._database.drop_table("values", ignore_missing=True)
            self._put_value(name, value)

    def _put_value(self, name: str, value: str) -> None:
        import pyarrow

        with self.location.translate_errors():
            new = pyarrow.table({"name": [name], "value": [value]})
            table = self._database.create_table("values", schema=new.schema, exist_ok=True)
            merge = table.merge_insert("name")
            merge.when_matched_update_all().when_not_matched_insert_all().execute(new)
            table.optimize(cleanup_older_than=KEEP_VERSIONS)

    def nearest(
        self,
        vector: Sequence[float],
        limit: int,
        *,
        where: PageFilter | None = None,
        without_text: bool = False,
    ) -> list[PageMatch]:
        """Return the `limit` pages nearest to a vector of any length above 0, best first."""
        query = self._pages.search(list(vector), vector_column_name="vector")
        query = query.distance_type("cosine").nprobes(PARTITIONS).refine_factor(REFINE_FACTOR)
        filters = [_WITHOUT_TEXT] if without_text else []
        return self._matches(query, "_distance", limit, where, filters)

    def match_text(
        self, words: str, limit: int, where: PageFilter | None = None
    ) -> list[PageMatch]:
        """Return the `limit` pages whose text has some of these words, best first.

        `_score` is the sum of their BM25 scores; see `text_index`.
        """
        query = self._pages.search(text_query(words), query_type="fts")
        return self._matches(query, "_score", limit, where, [])

    def _matches(
        self,
        query: Any,
        score_column: str,
        limit: int,
        where: PageFilter | None,
        filters: list[str],
    ) -> list[PageMatch]:
        if where is not None:
            filters = [*filters, f"({where.sql(self.documents().values())})"]
        if self._hidden:
            filters = [*filters, f"NOT {is_one_of('digest', self._hidden)}"]
        if filters:
            query = query.where(" AND ".join(filters), prefilter=True)
        with self.location.translate_errors():
            return list(query.select([*_COLUMNS, score_column]).limit(limit).to_list())


def _index_vectors(table: Any) -> None:
    from lancedb.index import IvfSq

    # All partitions are probed, so their centres matter little: train them quickly.
    options: dict[str, Any] = {"num_partitions": PARTITIONS, "max_iterations": 10}
    config = IvfSq(distance_type="cosine", sample_rate=64, **options)
    table.create_index("vector", config=config)
