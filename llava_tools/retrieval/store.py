"""`Store`: reads an index's tables in LanceDB.

`pages` has a row for each page of each content (the document's digest). `documents` has one for
each file, which records whether all pages of its content are stored. A search returns only pages of
complete files. `WritableStore` writes them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from llava_tools.errors import IndexStoreError
from llava_tools.images.sources import shorten
from llava_tools.retrieval.filters import PageFilter
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.ocr import OcrLine, load_lines
from llava_tools.retrieval.schema import (
    DocumentRow,
    PageMatch,
    is_one_of,
    make_schemas,
    quoted,
    read_metadata,
)
from llava_tools.retrieval.tables import (
    check_columns,
    connect,
    index_exists,
    open_table,
    table_names,
)
from llava_tools.retrieval.text_index import text_query
from llava_tools.retrieval.value_table import ValueTable
from llava_tools.retrieval.vector_index import vector_query

#: Columns of a `PageMatch`, besides its score.
_COLUMNS = ["digest", "page", "handle", "width", "height", "text"]
#: Pages without a text layer: images, and scans without OCR.
_WITHOUT_TEXT = "text = ''"


class Store:
    """An index as it was when it was opened; `latest` returns it as it is now.

    Raises:
        IndexStoreError: There is no index, or it is damaged; a `ForeignIndexError` if it is another
            version's or another program's.
        MissingExtraError: LanceDB is not installed.
    """

    def __init__(self, location: IndexLocation | Path) -> None:
        self.location = IndexLocation.of(location)
        where = shorten(self.location)
        if not index_exists(self.location):
            raise IndexStoreError(
                f"There is no index in {where}.",
                f"Make one: llava-tools index PATHS --to {self.location}",
            )
        with self.location.translate_errors():
            self._database = connect(self.location)
            self._identity = self._read_identity()
            self._documents = open_table(self._database, "documents")
            self._pages = open_table(self._database, "pages")
            self.metadata = read_metadata(self._pages.schema, where)
            schemas = make_schemas(self.metadata)
            for table, schema in zip((self._documents, self._pages), schemas, strict=True):
                check_columns(table, schema, where)
        self.values = ValueTable(self.location, self._database)

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
        if self.location.folder is None or not index_exists(self.location):
            return None
        return (self.location.folder / "pages.lance").stat().st_ino

    def _is_latest(self, table: Any, name: str) -> bool:
        return bool(self._database.open_table(name).version == table.version)

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
        return bytes(self._page_value("pages", "thumbnail", digest, page) or b"")

    def find_page(self, handle: str) -> dict[str, Any] | None:
        """Return a page by its image's handle, the first one that a search may return."""
        query = self._pages.search().where(f"handle = {quoted(handle)}").select(_COLUMNS)
        with self.location.translate_errors():
            rows = query.to_list()
        return next((row for row in rows if row["digest"] in self.sources), None)

    def lines(self, digest: str, page: int) -> list[OcrLine]:
        """Return a page's words with their places, if it stores them (`schema.PageRow`)."""
        stored = str(self._page_value("pages", "words", digest, page) or "")
        with self.location.translate_errors():  # damaged rows have other texts
            return load_lines(stored)

    @cached_property
    def keeps_images(self) -> bool:
        """Whether it keeps the images of pages, which is so from its creation on."""
        with self.location.translate_errors():
            return "images" in table_names(self._database)

    def image(self, digest: str, page: int) -> bytes:
        """Return a page's image, a JPEG; empty if it is not kept."""
        if not self.keeps_images:
            return b""
        return bytes(self._page_value("images", "image", digest, page) or b"")

    def _page_value(self, table_name: str, column: str, digest: str, page: int) -> Any:
        """Return what a column has for a page; None if the page is not stored."""
        where = f"digest = {quoted(digest)} AND page = {page}"
        with self.location.translate_errors():
            is_open = table_name == "pages"
            table = self._pages if is_open else open_table(self._database, table_name)
            rows = table.search().where(where).select([column]).limit(1).to_list()
        return rows[0][column] if rows else None

    def nearest(
        self,
        vector: Sequence[float],
        limit: int,
        *,
        where: PageFilter | None = None,
        without_text: bool = False,
    ) -> list[PageMatch]:
        """Return the `limit` pages nearest to a vector of any length above 0, best first."""
        query = vector_query(self._pages, vector)
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
            rows = query.select([*_COLUMNS, score_column]).limit(limit).to_list()
        sign = 1 if score_column == "_distance" else -1
        # LanceDB returns pages of the same score in any order.
        return sorted(rows, key=lambda row: (sign * row[score_column], row["digest"], row["page"]))
