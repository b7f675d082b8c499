"""What an index's tables hold: a row for each page of each content, one for each file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llava_tools.errors import IndexStoreError

_VERSION = 1


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
        handle: Of the page's image.
        width: Of that image.
        height: Of that image.
        text: The text layer.
        thumbnail: A small JPEG.
        vector: Of the image.
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


def pages_schema(meta: Meta) -> Any:
    """Return the columns of the pages, with whose vectors they have."""
    import pyarrow

    told = json.dumps({**vars(meta), "version": _VERSION})
    texts = [(name, pyarrow.string()) for name in ("digest", "handle", "text")]
    numbers = [(name, pyarrow.int32()) for name in ("page", "width", "height")]
    vector = ("vector", pyarrow.list_(pyarrow.float32(), meta.dimensions))
    columns = [*texts, *numbers, ("thumbnail", pyarrow.binary()), vector]
    return pyarrow.schema(columns, metadata={"llava-tools": told})


def documents_schema() -> Any:
    """Return the columns of the files."""
    import pyarrow

    texts = [(name, pyarrow.string()) for name in ("document", "digest")]
    flags = [(name, pyarrow.bool_()) for name in ("is_pdf", "complete")]
    return pyarrow.schema([*texts, ("pages", pyarrow.int32()), *flags])


def meta_of(schema: Any, folder: str) -> Meta:
    """Return whose vectors pages with these columns have.

    Raises:
        IndexStoreError: They were written by another version.
    """
    told = json.loads((schema.metadata or {}).get(b"llava-tools", b"{}"))
    if told.pop("version", None) != _VERSION:
        raise IndexStoreError(
            f"The index in {folder!r} was made by another version.", "Make it again."
        )
    return Meta(**told)


def table(rows: Sequence[PageRow] | Sequence[DocumentRow], schema: Any) -> Any:
    """Return rows as Arrow takes them."""
    import pyarrow

    return pyarrow.Table.from_pylist([vars(row) for row in rows], schema=schema)
