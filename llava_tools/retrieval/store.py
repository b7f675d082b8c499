"""The tables of an index: pages by content, and which documents they belong to, in LanceDB.

`pages` has a row for each page of each content (the document's digest), `documents` one for each
file, which says whether all pages of its content are there. Pages are only searched where some file
is complete. Every write is one commit of LanceDB's: a process that is killed leaves it done or not
done.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from llava_tools.errors import IndexStoreError, MissingExtraError

#: From how many pages on an index for vectors pays; below, all are compared.
MANY = 20_000
#: Bytes of the tables' descriptions that LanceDB remembers. It would take up to 1 GiB, and every
#: batch that is written adds some, so that memory would grow with the pages.
REMEMBERED = 32 << 20
_VERSION = 1
_TRUST = "trust.json"
_COLUMNS = ["digest", "page", "handle", "width", "height", "text"]


@dataclass(frozen=True)
class Meta:
    """Whose vectors an index holds.

    Attributes:
        model: The LLaVA that the embedder was made with.
        clip: Name of the CLIP.
        dimensions: Length of the vectors.
    """

    model: str
    clip: str
    dimensions: int


@dataclass(frozen=True)
class PageRow:
    """A page as it is stored.

    Attributes:
        digest: Of the document's bytes.
        page: From 1.
        handle: Of the page's picture.
        width: Of that picture.
        height: Of that picture.
        text: The text layer.
        thumbnail: A small JPEG.
        vector: Of the picture.
    """

    digest: str
    page: int
    handle: str
    width: int
    height: int
    text: str
    thumbnail: bytes
    vector: Sequence[float]


@dataclass(frozen=True)
class DocumentRow:
    """A file as it is stored; see `pages.Document`."""

    document: str
    digest: str
    pages: int
    is_pdf: bool
    complete: bool


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
        with _writing(folder):
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
                database.create_table("documents", schema=_documents_schema(), exist_ok=True)
                pages = database.create_table("pages", schema=_pages_schema(meta))
                pages.create_index("text", config=lancedb.index.FTS())
            self._documents = database.open_table("documents")
            self._pages = database.open_table("pages")
        told = json.loads((self._pages.schema.metadata or {}).get(b"llava-tools", b"{}"))
        if told.pop("version", None) != _VERSION:
            raise IndexStoreError(
                f"The index in {str(folder)!r} was made by another version.", "Make it again."
            )
        self.meta = Meta(**told)

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
        count = self.count()
        places = range(0, count, max(1, -(-count // many)))
        if not places:
            return []
        rows: list[dict[str, Any]] = (
            self._pages.take_offsets(list(places)).select(["text", "vector"]).to_list()
        )
        return rows

    @cached_property
    def picture_weight(self) -> float:
        """How far vectors are trusted for pages with a text (see `trust`); 1 if not measured."""
        path = self.folder / _TRUST
        return float(json.loads(path.read_text())["pictures"]) if path.is_file() else 1.0

    def trusts(self, pages: int) -> bool:
        """Return whether the weight was measured when there were this many pages."""
        path = self.folder / _TRUST
        return path.is_file() and json.loads(path.read_text())["pages"] == pages

    def trust(self, weight: float) -> None:
        """Keep the weight of the vectors."""
        with _writing(self.folder):
            new = self.folder / f"{_TRUST}.new"
            new.write_text(json.dumps({"pictures": round(weight, 4), "pages": self.count()}))
            new.replace(self.folder / _TRUST)

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
            table = _table([vars(row) for row in rows], self._documents.schema)
            merge = self._documents.merge_insert("document")
            with _writing(self.folder):
                merge.when_matched_update_all().when_not_matched_insert_all().execute(table)

    def add_pages(self, rows: Sequence[PageRow]) -> None:
        """Add pages that are not stored yet."""
        if rows:
            with _writing(self.folder):
                self._pages.add(_table([vars(row) for row in rows], self._pages.schema))

    def remove(self, documents: Sequence[str]) -> None:
        """Remove files; their pages go with `sweep`."""
        for start in range(0, len(documents), 500):
            names = ", ".join(map(_quoted, documents[start : start + 500]))
            with _writing(self.folder):
                self._documents.delete(f"document IN ({names})")

    def sweep(self) -> None:
        """Remove pages that belong to no file, and bring the indexes up to date."""
        orphans = sorted(self._digests() - {row.digest for row in self.documents().values()})
        with _writing(self.folder):
            for start in range(0, len(orphans), 500):
                names = ", ".join(map(_quoted, orphans[start : start + 500]))
                self._pages.delete(f"digest IN ({names})")
            indexed = {column for index in self._pages.list_indices() for column in index.columns}
            if "text" not in indexed:  # killed between making the table and its index
                self._pages.create_index("text", config=_lancedb().index.FTS())
            if self.count() >= MANY and "vector" not in indexed:
                config = _lancedb().index.HnswSq(distance_type="cosine")
                self._pages.create_index("vector", config=config)
            self._pages.optimize()
            self._documents.optimize()

    def nearest(self, vector: Sequence[float], many: int) -> list[dict[str, Any]]:
        """Return the pages nearest to a vector, best first."""
        query = self._pages.search(list(vector), vector_column_name="vector")
        return self._hits(query.distance_type("cosine"), "_distance", many)

    def saying(self, words: str, many: int) -> list[dict[str, Any]]:
        """Return the pages whose text says some of these words (BM25), best first."""
        match = _lancedb().query.MatchQuery(words, "text")
        return self._hits(self._pages.search(match, query_type="fts"), "_score", many)

    def thumbnail(self, digest: str, page: int) -> bytes:
        """Return a page's small picture, a JPEG."""
        where = f"digest = {_quoted(digest)} AND page = {page}"
        rows = self._pages.search().where(where).select(["thumbnail"]).limit(1).to_list()
        data: bytes = rows[0]["thumbnail"] if rows else b""
        return data

    def _hits(self, query: Any, by: str, many: int) -> list[dict[str, Any]]:
        if self._hidden:
            names = ", ".join(map(_quoted, self._hidden))
            query = query.where(f"digest NOT IN ({names})", prefilter=True)
        rows: list[dict[str, Any]] = query.select([*_COLUMNS, by]).limit(many).to_list()
        return rows


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to an index; a process that is killed lets go of it.

    SQLite's lock, since it is the one that Python has on every system.

    Raises:
        IndexStoreError: Another process is writing to it, or it cannot be written.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = sqlite3.connect(folder / "lock", timeout=0, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise IndexStoreError(
                f"The index in {str(folder)!r} is being written by somebody else.",
                "Wait until that is done.",
            ) from error
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.close()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Say what went wrong with the disk: LanceDB raises OSError and RuntimeError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: Exception) -> IndexStoreError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    return IndexStoreError(
        f"The index in {str(folder)!r} cannot be used ({reason}).",
        "Check the disk and its room; what was indexed stays, and indexing again goes on from it.",
    )


def _lancedb() -> Any:
    try:
        import lancedb
        import lancedb.index
        import lancedb.query
    except ImportError as error:
        raise MissingExtraError("lancedb", "documents") from error
    return lancedb


def _pages_schema(meta: Meta) -> Any:
    import pyarrow

    told = json.dumps({**vars(meta), "version": _VERSION})
    texts = [(name, pyarrow.string()) for name in ("digest", "handle", "text")]
    numbers = [(name, pyarrow.int32()) for name in ("page", "width", "height")]
    vector = ("vector", pyarrow.list_(pyarrow.float32(), meta.dimensions))
    columns = [*texts, *numbers, ("thumbnail", pyarrow.binary()), vector]
    return pyarrow.schema(columns, metadata={"llava-tools": told})


def _documents_schema() -> Any:
    import pyarrow

    texts = [(name, pyarrow.string()) for name in ("document", "digest")]
    flags = [(name, pyarrow.bool_()) for name in ("is_pdf", "complete")]
    return pyarrow.schema([*texts, ("pages", pyarrow.int32()), *flags])


def _table(rows: list[dict[str, Any]], schema: Any) -> Any:
    import pyarrow

    return pyarrow.Table.from_pylist(rows, schema=schema)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
