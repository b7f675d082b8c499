"""The tables of an index: pages by content, and which documents they belong to, in LanceDB.

`pages` has a row for each page of each content (the document's digest), `documents` one for each
file, which says whether all pages of its content are there. Pages are only searched where some file
is complete. Every write is one commit of LanceDB's: a process that is killed leaves it done or not
done.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from llava_tools.errors import IndexStoreError, MissingExtraError
from llava_tools.retrieval.locking import locked, writing
from llava_tools.retrieval.schema import (
    DocumentRow,
    Meta,
    PageRow,
    documents_schema,
    meta_of,
    pages_schema,
    table,
)

__all__ = ["DocumentRow", "Meta", "PageRow", "Store", "locked"]

#: From how many pages on an index for vectors pays; below, the vectors themselves are compared.
MANY = 10_000
#: Parts of that index. All are looked at: it saves time by its numbers of 8 bits, and finds as much
#: however many pages come after it was made.
PARTS = 64
#: How many times as many as are wanted are compared once more by their full vectors.
AGAIN = 2
#: Bytes of the tables' descriptions that LanceDB remembers. It would take up to 1 GiB, and every
#: batch that is written adds some, so that memory would grow with the pages.
REMEMBERED = 32 << 20
_COLUMNS = ["digest", "page", "handle", "width", "height", "text"]
#: Pages without a text layer: images, and scans that no machine has read.
_BARE = "text = ''"


class Store:
    """An index's folder, opened: searched as it was then, until it is opened again.

    Args:
        folder: Where it is.
        meta: Whose vectors it will hold, to make it where it is not there.

    Raises:
        IndexStoreError: It is not there and may not be made, or is no index of this kind.
        MissingExtraError: LanceDB is not installed.
    """

    def __init__(self, folder: Path, meta: Meta | None = None) -> None:
        lancedb = _lancedb()
        self.folder = folder
        with writing(folder):
            if meta is None and not (folder / "pages.lance").is_dir():
                raise IndexStoreError(
                    f"There is no index in {str(folder)!r}.",
                    f"Make one: llava-tools index PATHS --to {folder}",
                )
            session = lancedb.Session(metadata_cache_size_bytes=REMEMBERED)
            database = lancedb.connect(folder, session=session)
            names = database.list_tables().tables
            # `pages` is made last and so stands for both.
            if "pages" not in names and meta is not None:
                database.create_table("documents", schema=documents_schema(), exist_ok=True)
                pages = database.create_table("pages", schema=pages_schema(meta))
                pages.create_index("text", config=lancedb.index.FTS())
            self._documents = database.open_table("documents")
            self._pages = database.open_table("pages")
        self.meta = meta_of(self._pages.schema, str(folder))

    def documents(self) -> dict[str, DocumentRow]:
        """Return every file by its path."""
        rows = self._documents.to_arrow().to_pylist()
        return {row["document"]: DocumentRow(**row) for row in rows}

    @cached_property
    def sources(self) -> dict[str, DocumentRow]:
        """For each content whose pages are all there, a file of it."""
        rows = sorted(self.documents().values(), key=lambda row: row.document, reverse=True)
        return {row.digest: row for row in rows if row.complete}

    @cached_property
    def _hidden(self) -> list[str]:
        """Contents with stored pages that are not to be found: half done, or of no file."""
        return sorted(self._digests() - self.sources.keys())

    def _digests(self) -> set[str]:
        column = self._pages.search().select(["digest"]).to_arrow()["digest"]
        return set(column.unique().to_pylist())

    def sample(self, many: int) -> list[dict[str, Any]]:
        """Return text and vector of pages that are spread evenly over the index."""
        places = _spread(self.count(), many)
        if not places:
            return []
        rows: list[dict[str, Any]] = (
            self._pages.take_offsets(places).select(["text", "vector"]).to_list()
        )
        return rows

    def bare(self, many: int) -> list[list[float]]:
        """Return vectors of pages without a text, spread evenly over those."""
        found = self._pages.search().where(_BARE).select(["page"]).with_row_id(True).to_arrow()
        ids = found["_rowid"].to_pylist()
        chosen = [ids[place] for place in _spread(len(ids), many)]
        if not chosen:
            return []
        rows = self._pages.take_row_ids(chosen).select(["vector"]).to_list()
        return [row["vector"] for row in rows]

    def known_pages(self, digest: str) -> set[int]:
        """Return which pages of a content are stored."""
        query = self._pages.search().where(f"digest = {_quoted(digest)}").select(["page"])
        return {row["page"] for row in query.to_list()}

    def count(self) -> int:
        """Return how many pages are stored."""
        rows: int = self._pages.count_rows()
        return rows

    def put_documents(self, rows: Sequence[DocumentRow]) -> None:
        """Add files, or replace what was stored of them."""
        if rows:
            new = table(rows, self._documents.schema)
            merge = self._documents.merge_insert("document")
            with writing(self.folder):
                merge.when_matched_update_all().when_not_matched_insert_all().execute(new)

    def add_pages(self, rows: Sequence[PageRow]) -> None:
        """Add pages that are not stored yet."""
        if rows:
            with writing(self.folder):
                self._pages.add(table(rows, self._pages.schema))

    def remove(self, documents: Sequence[str]) -> None:
        """Remove files; their pages go with `sweep`."""
        for start in range(0, len(documents), 500):
            names = ", ".join(map(_quoted, documents[start : start + 500]))
            with writing(self.folder):
                self._documents.delete(f"document IN ({names})")

    def sweep(self) -> None:
        """Remove pages that belong to no file, and bring the indexes up to date."""
        orphans = sorted(self._digests() - {row.digest for row in self.documents().values()})
        with writing(self.folder):
            for start in range(0, len(orphans), 500):
                names = ", ".join(map(_quoted, orphans[start : start + 500]))
                self._pages.delete(f"digest IN ({names})")
            indexed = {column for index in self._pages.list_indices() for column in index.columns}
            if "text" not in indexed:  # killed between making the table and its index
                self._pages.create_index("text", config=_lancedb().index.FTS())
            if self.count() >= MANY and "vector" not in indexed:
                # Where the parts lie matters little when all are looked at: a rough guess is quick.
                config = _lancedb().index.IvfSq(
                    distance_type="cosine", num_partitions=PARTS, max_iterations=10, sample_rate=64
                )
                self._pages.create_index("vector", config=config)
            self._pages.optimize()
            self._documents.optimize()

    def nearest(
        self, vector: Sequence[float], many: int, *, bare: bool = False
    ) -> list[dict[str, Any]]:
        """Return the pages nearest to a vector, best first; `_distance` is one less the cosine.

        Args:
            vector: Of any length above 0.
            many: How many.
            bare: Only pages without a text.
        """
        query = self._pages.search(list(vector), vector_column_name="vector")
        query = query.distance_type("cosine").nprobes(PARTS).refine_factor(AGAIN)
        return self._hits(query, "_distance", many, bare=bare)

    def saying(self, words: str, many: int) -> list[dict[str, Any]]:
        """Return the pages whose text says some of these words (BM25), best first."""
        match = _lancedb().query.MatchQuery(words, "text")
        return self._hits(self._pages.search(match, query_type="fts"), "_score", many)

    def thumbnail(self, digest: str, page: int) -> bytes:
        """Return a page's small image, a JPEG."""
        where = f"digest = {_quoted(digest)} AND page = {page}"
        rows = self._pages.search().where(where).select(["thumbnail"]).limit(1).to_list()
        data: bytes = rows[0]["thumbnail"] if rows else b""
        return data

    def _hits(self, query: Any, by: str, many: int, *, bare: bool = False) -> list[dict[str, Any]]:
        wanted = [_BARE] if bare else []
        if self._hidden:
            wanted.append(f"digest NOT IN ({', '.join(map(_quoted, self._hidden))})")
        if wanted:
            query = query.where(" AND ".join(wanted), prefilter=True)
        rows: list[dict[str, Any]] = query.select([*_COLUMNS, by]).limit(many).to_list()
        return rows


def _spread(count: int, many: int) -> list[int]:
    """Return at most `many` of `count` places, evenly spread."""
    return list(range(0, count, max(1, -(-count // many))))


def _lancedb() -> Any:
    try:
        import lancedb
        import lancedb.index
        import lancedb.query
    except ImportError as error:
        raise MissingExtraError("lancedb", "documents") from error
    return lancedb


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
