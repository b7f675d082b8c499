"""LanceDB's connection and tables: opening, creating and checking them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from llava_tools.errors import ForeignIndexError, require
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.process import remember_process
from llava_tools.retrieval.schema import (
    IndexMetadata,
    image_schema,
    is_one_of,
    make_schemas,
)
from llava_tools.retrieval.text_index import TEXT_COLUMNS, index_text

#: Bytes of LanceDB's metadata cache. Its default is 1 GiB, and each batch written adds to it, so
#: memory would grow with the pages.
METADATA_CACHE_BYTES = 32 << 20
#: Old versions of the tables are kept this long, for searches that are reading them.
KEEP_VERSIONS = timedelta(minutes=10)
_DELETE_BATCH = 500


def connect(location: IndexLocation) -> Any:
    """Return LanceDB's connection to an index, also to one that cannot be opened.

    Connecting creates the folder.
    """
    require("lancedb", extra="documents")
    remember_process()
    import lancedb

    session = lancedb.Session(metadata_cache_size_bytes=METADATA_CACHE_BYTES)
    options = dict(location.storage_options) or None
    return lancedb.connect(location.path, session=session, storage_options=options)


def index_exists(location: IndexLocation) -> bool:
    """Return whether an index is there; `IndexStoreError` if object storage does not answer."""
    with location.translate_errors():
        if location.folder is not None:
            return (location.folder / "pages.lance").is_dir()
        return "pages" in table_names(connect(location))


def create_tables(database: Any, metadata: IndexMetadata, keep_images: bool) -> None:
    """Create an index's tables; `pages` is the last one, so if it exists, all do."""
    documents, pages = make_schemas(metadata)
    database.create_table("documents", schema=documents, exist_ok=True)
    if keep_images:
        database.create_table("images", schema=image_schema(), exist_ok=True)
    table = database.create_table("pages", schema=pages)
    for column in TEXT_COLUMNS:
        index_text(table, column)


def open_table(database: Any, name: str, version: int | None = None) -> Any:
    """Return a table, as it is now or at a version; `ValueError` if it has no columns."""
    table = database.open_table(name)
    if version is not None:
        table.checkout(version)
    if not table.schema.names:  # what LanceDB reads from a manifest of zeros
        raise ValueError(f"the table {name} has no columns")
    return table


def read_rows(table: Any) -> None:
    """Read all rows, and raise LanceDB's error for one that cannot be read."""
    for _ in table.search().to_batches():
        pass


def table_names(database: Any) -> set[str]:
    """Return the names of all tables."""
    return set(database.list_tables().tables)


def check_columns(table: Any, schema: Any, where: str) -> None:
    """Raise `ForeignIndexError` for a table without the columns of `schema`."""
    columns = dict(zip(table.schema.names, table.schema.types, strict=True))
    wrong = [field.name for field in schema if columns.get(field.name) != field.type]
    if wrong:
        raise ForeignIndexError(
            f"The index in {where} has other columns than llava-tools writes: {', '.join(wrong)}."
        )


def delete_rows(table: Any, column: str, values: Sequence[str]) -> None:
    """Delete the rows that have one of these values."""
    for start in range(0, len(values), _DELETE_BATCH):
        table.delete(is_one_of(column, values[start : start + _DELETE_BATCH]))


def compact(table: Any) -> None:
    """Join a table's small files, bring its indexes up to date, and remove old versions."""
    table.optimize(cleanup_older_than=KEEP_VERSIONS)
