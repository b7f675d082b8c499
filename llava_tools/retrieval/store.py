"""An index's tables in LanceDB: pages stored by content, and the files that have that content.

`pages` has a row for each page of each content (the document's digest). `documents` has one for
each file, which records whether all pages of its content are stored. A search returns only pages of
complete files. Each write is one LanceDB commit, so a killed process leaves it complete or absent.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from llava_tools.errors import IndexStoreError, require
from llava_tools.retrieval.filters import PageFilter
from llava_tools.retrieval.locking import translate_disk_errors
from llava_tools.retrieval.schema import (
    DocumentRow,
    IndexMetadata,
    PageMatch,
    PageRow,
    is_one_of,
    make_schemas,
    quoted,
    read_metadata,
    to_arrow,
)

#: Pages from which vectors get an index; with fewer, a search compares all vectors.
MIN_INDEXED_PAGES = 10_000
#: Partitions of that index. A search probes all of them, so it also finds pages added after the
#: index was built; only the 8-bit codes save time.
PARTITIONS = 64
#: A search re-ranks this multiple of `limit` candidates by their full vectors.
REFINE_FACTOR = 2
#: Bytes of LanceDB's metadata cache. Its default is 1 GiB, and each batch written adds to it, so
#: memory would grow with the pages.
METADATA_CACHE_BYTES = 32 << 20
_DELETE_BATCH = 500
_COLUMNS = ["digest", "page", "handle", "width", "height", "text"]
#: Pages without a text layer: images, and scans without OCR.
_WITHOUT_TEXT = "text = ''"


class Store:
    """An opened index.

    Searches see it as it was when opened; open it again to see later writes. If there is no
    index, `metadata` creates one.

    Raises:
        IndexStoreError: There is no index and no `metadata` to create one, or the index is another
            version's.
        MissingExtraError: LanceDB is not installed.
    """

    def __init__(self, folder: Path, metadata: IndexMetadata | None = None) -> None:
        lancedb = _lancedb()
        self.folder = folder
        with translate_disk_errors(folder):
            if metadata is None and not self.exists(folder):
                raise IndexStoreError(
                    f"There is no index in {str(folder)!r}.",
                    f"Make one: llava-tools index PATHS --to {folder}",
                )
            session = lancedb.Session(metadata_cache_size_bytes=METADATA_CACHE_BYTES)
            database = lancedb.connect(folder, session=session)
            # `pages` is created last, so if it exists, both tables do.
            if metadata is not None and not self.exists(folder):
                documents, pages = make_schemas(metadata)
                database.create_table("documents", schema=documents, exist_ok=True)
                table = database.create_table("pages", schema=pages)
                _index_text(table)
            self._documents = database.open_table("documents")
            self._pages = database.open_table("pages")
        self.metadata = read_metadata(self._pages.schema, str(folder))

    @staticmethod
    def exists(folder: Path) -> bool:
        """Return whether a folder holds an index."""
        return (folder / "pages.lance").is_dir()

    def documents(self) -> dict[str, DocumentRow]:
        """Return every file by its path."""
        rows = self._documents.to_arrow().to_pylist()
        return {row["document"]: DocumentRow(**row) for row in rows}

    @cached_property
    def sources(self) -> dict[str, DocumentRow]:
        """A complete file for each digest that has one: the first by path."""
        rows = sorted(self.documents().values(), key=lambda row: row.document, reverse=True)
        return {row.digest: row for row in rows if row.complete}

    @cached_property
    def _hidden(self) -> list[str]:
        """Digests whose pages a search must not return: of incomplete or removed files."""
        return sorted(self._digests() - self.sources.keys())

    def _digests(self) -> set[str]:
        column = self._pages.search().select(["digest"]).to_arrow()["digest"]
        return set(column.unique().to_pylist())

    def count(self) -> int:
        """Return how many pages are stored."""
        return int(self._pages.count_rows())

    def sample(self, limit: int, *, without_text: bool = False) -> list[dict[str, Any]]:
        """Return text and vector of at most `limit` pages, spread evenly over the index."""
        query = self._pages.search().select(["page"]).with_row_id(True)
        if without_text:
            query = query.where(_WITHOUT_TEXT)
        ids = query.to_arrow()["_rowid"].to_pylist()
        ids = ids[:: max(1, -(-len(ids) // limit))]
        if not ids:
            return []
        return list(self._pages.take_row_ids(ids).select(["text", "vector"]).to_list())

    def page_numbers(self, digest: str) -> set[int]:
        """Return the numbers of a content's pages that are stored."""
        query = self._pages.search().where(f"digest = {quoted(digest)}").select(["page"])
        return {row["page"] for row in query.to_list()}

    def thumbnail(self, digest: str, page: int) -> bytes:
        """Return a page's thumbnail, a JPEG; empty if the page is not stored."""
        where = f"digest = {quoted(digest)} AND page = {page}"
        rows = self._pages.search().where(where).select(["thumbnail"]).limit(1).to_list()
        return bytes(rows[0]["thumbnail"]) if rows else b""

    def put_documents(self, rows: Sequence[DocumentRow]) -> None:
        """Add files, or replace their rows."""
        if rows:
            new = to_arrow(rows, self._documents.schema)
            merge = self._documents.merge_insert("document")
            with translate_disk_errors(self.folder):
                merge.when_matched_update_all().when_not_matched_insert_all().execute(new)

    def add_pages(self, rows: Sequence[PageRow]) -> None:
        """Add pages that are not stored yet."""
        if rows:
            with translate_disk_errors(self.folder):
                self._pages.add(to_arrow(rows, self._pages.schema))

    def remove(self, documents: Sequence[str]) -> None:
        """Remove files; `clean_up` removes their pages."""
        with translate_disk_errors(self.folder):
            _delete(self._documents, "document", documents)

    def clean_up(self) -> None:
        """Remove pages that no file has, and bring the indexes up to date."""
        orphans = sorted(self._digests() - {row.digest for row in self.documents().values()})
        with translate_disk_errors(self.folder):
            _delete(self._pages, "digest", orphans)
            indexed = {column for index in self._pages.list_indices() for column in index.columns}
            if "text" not in indexed:  # the process was killed between table and index
                _index_text(self._pages)
            if self.count() >= MIN_INDEXED_PAGES and "vector" not in indexed:
                _index_vectors(self._pages)
            self._pages.optimize()
            self._documents.optimize()

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
        """Return the `limit` pages whose text has some of these words (BM25), best first."""
        match = _lancedb().query.MatchQuery(words, "text")
        query = self._pages.search(match, query_type="fts")
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
        return list(query.select([*_COLUMNS, score_column]).limit(limit).to_list())


def _index_text(table: Any) -> None:
    if _takes_configurations(table):
        table.create_index("text", config=_lancedb().index.FTS())
    else:
        table.create_fts_index("text")


def _index_vectors(table: Any) -> None:
    # All partitions are probed, so their centres matter little: train them quickly.
    options = {"num_partitions": PARTITIONS, "max_iterations": 10, "sample_rate": 64}
    if _takes_configurations(table):
        config = _lancedb().index.IvfSq(distance_type="cosine", **options)
        table.create_index("vector", config=config)
    else:
        table.create_index("cosine", vector_column_name="vector", index_type="IVF_SQ", **options)


def _takes_configurations(table: Any) -> bool:
    """Return whether indexes are created by a configuration: in LanceDB from 0.34 on."""
    return "config" in inspect.signature(table.create_index).parameters


def _delete(table: Any, column: str, values: Sequence[str]) -> None:
    for start in range(0, len(values), _DELETE_BATCH):
        table.delete(is_one_of(column, values[start : start + _DELETE_BATCH]))


def _lancedb() -> Any:
    require("lancedb", extra="documents")
    import lancedb.index
    import lancedb.query

    return lancedb
