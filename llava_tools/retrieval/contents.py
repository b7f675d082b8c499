"""What an index holds: its documents, its size, and which documents to remove."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llava_tools.errors import DocumentError, RequestError
from llava_tools.images.sources import shorten
from llava_tools.retrieval.filters import PageFilter
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.schema import SCHEMA_VERSION, DocumentRow
from llava_tools.retrieval.store import Store

#: The user's own fields of documents.
Metadata = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class IndexedDocument:
    """A file of an index.

    Attributes:
        document: Its path.
        pages: How many it has.
        digest: SHA-256 of its bytes.
        complete: Whether all its pages are stored; searches return those of complete files only.
        modified: When it was last changed when it was indexed: UTC, such as "2026-11-28T17:03:59".
        metadata: The fields that `PageIndex.update` was called with.
    """

    document: str
    pages: int
    digest: str
    complete: bool
    modified: str
    metadata: Metadata

    @classmethod
    def of(cls, row: DocumentRow) -> IndexedDocument:
        """Return a row of the table `documents`."""
        fields = (row.document, row.pages, row.digest, row.complete, row.modified)
        return cls(*fields, row.fields)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True)
class IndexStats:
    """Size and kind of an index.

    Attributes:
        documents: Files.
        incomplete: Files without some of their pages, since a run ended before them.
        pages: Stored pages; files with the same content share theirs.
        pages_without_text: Pages that only their images find.
        bytes: Size of its folder; None in object storage.
        model: The LLaVA whose vision tower makes its vectors.
        clip: The CLIP that this tower comes from.
        dimensions: Numbers of a vector.
        image_weight: How much the vectors count for pages with a text, 0 (chance) to 1.
        schema: Version of its tables.
    """

    documents: int
    incomplete: int
    pages: int
    pages_without_text: int
    bytes: int | None
    model: str
    clip: str
    dimensions: int
    image_weight: float
    schema: int = SCHEMA_VERSION

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


def list_documents(store: Store, where: PageFilter | None) -> list[IndexedDocument]:
    """Return the files that match, by path."""
    rows = sorted(store.documents().values(), key=lambda row: row.document)
    return [IndexedDocument.of(row) for row in rows if where is None or where.matches(row)]


def measure_index(store: Store, image_weight: float) -> IndexStats:
    """Return an index's size and kind."""
    rows = store.documents().values()
    return IndexStats(
        documents=len(rows),
        incomplete=sum(not row.complete for row in rows),
        pages=store.count(),
        pages_without_text=store.count(without_text=True),
        bytes=_size(store.location),
        image_weight=image_weight,
        **vars(store.metadata),
    )


def documents_at(rows: Iterable[DocumentRow], paths: Sequence[str | Path]) -> list[str]:
    """Return the indexed files at and below paths; `DocumentError` if there are none for one."""
    names = [row.document for row in rows]
    found: set[str] = set()
    for path in paths:
        absolute = os.path.abspath(os.path.expanduser(path))
        below = [n for n in names if n == absolute or n.startswith(os.path.join(absolute, ""))]
        if not below:
            raise DocumentError(
                f"{shorten(path)} is not in the index.", "List its documents to see their paths."
            )
        found.update(below)
    return sorted(found)


def dump_metadata(metadata: Metadata) -> str:
    """Return fields as the table `documents` holds them; `RequestError` if they cannot be held."""
    for name, value in metadata.items():
        if not isinstance(name, str) or not name or not isinstance(value, str | int | float):
            raise RequestError(
                f"metadata has {name!r:.60}: {value!r:.60}.", "Use texts and numbers by name."
            )
    return json.dumps(dict(metadata), ensure_ascii=False, sort_keys=True)


def _size(location: IndexLocation) -> int | None:
    if location.folder is None:
        return None
    with location.translate_errors():
        return sum(
            _file_size(os.path.join(folder, name))
            for folder, _, names in os.walk(location.folder, onerror=_raise_unless_gone)
            for name in names
        )


def _file_size(path: str) -> int:
    """Return the bytes of a file; 0 if it is gone, since an update removes files meanwhile."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
