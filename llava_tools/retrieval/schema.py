"""Tables of an index: `pages`, a row for each page of a content; `documents`, one for each file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from llava_tools.core.backend import Encoder
from llava_tools.embedding import Embedder
from llava_tools.errors import ForeignIndexError, IndexStoreError
from llava_tools.images.sources import shorten
from llava_tools.retrieval.text_index import search_columns

#: Version of the tables. An index of another version is refused (`read_metadata`).
SCHEMA_VERSION = 2

#: A row of `pages` that a search returned; a vector search adds `_distance`, 1 - cosine.
PageMatch = dict[str, Any]


@dataclass(frozen=True)
class IndexMetadata:
    """The embedder of an index: its LLaVA `model`, the name of its CLIP, its vectors' length."""

    model: str
    clip: str
    dimensions: int

    @classmethod
    def of(cls, encoder: Encoder) -> IndexMetadata:
        """Return those of the index that an encoder creates; an `Embedder` loads its model."""
        return cls(llava_name(encoder), encoder.model_name, encoder.dimensions)


def llava_name(encoder: Encoder) -> str:
    """Return the name of the LLaVA whose vision tower an encoder is; loads nothing."""
    return encoder.options.model if isinstance(encoder, Embedder) else encoder.model_name


@dataclass(frozen=True)
class PageRow:
    """A row of `pages`: a page of the document with this SHA-256 digest, numbered from 1.

    `handle`, `width`, `height` (in pixels) and `vector` are those of the page's image; `text` is
    its text, `headings` its short lines (`text.headings`), `thumbnail` a small JPEG. `words` has
    the places (`ocr.dump_lines`) of the words that OCR read, or of those of the text layer if
    the index keeps images.
    """

    digest: str
    page: int
    handle: str
    width: int
    height: int
    text: str
    thumbnail: bytes
    vector: Sequence[float]
    words: str = ""
    headings: str = ""


@dataclass(frozen=True)
class DocumentRow:
    """A row of `documents`; see `pages.Document`. `complete`: all its pages are stored.

    `modified` is when the file was last changed when it was indexed, UTC in ISO 8601, to seconds;
    `metadata` is a JSON object of the user's own fields.
    """

    document: str
    digest: str
    pages: int
    is_pdf: bool
    complete: bool
    modified: str = ""
    metadata: str = "{}"

    @property
    def fields(self) -> dict[str, str | int | float | bool]:
        """The user's own fields; `IndexStoreError` if the row is damaged."""
        try:
            fields = json.loads(self.metadata)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            raise IndexStoreError(
                f"The index's row of {shorten(self.document)} is damaged.",
                "Remove the file from the index, and index it again.",
            )
        return fields


@dataclass(frozen=True)
class ImageRow:
    """A row of `images`, which only an index has that keeps images: a page's image as a JPEG."""

    digest: str
    page: int
    image: bytes


def image_schema() -> Any:
    """Return the Arrow schema of `images`."""
    import pyarrow

    text, number, data = pyarrow.string(), pyarrow.int32(), pyarrow.large_binary()
    return pyarrow.schema({"digest": text, "page": number, "image": data})


def make_schemas(metadata: IndexMetadata) -> tuple[Any, Any]:
    """Return the Arrow schemas of `documents` and of `pages`, which has the index's metadata."""
    import pyarrow

    text, number, flag = pyarrow.string(), pyarrow.int32(), pyarrow.bool_()
    files = {"document": text, "digest": text, "pages": number, "is_pdf": flag, "complete": flag}
    files |= {"modified": text, "metadata": text}
    pages = dict.fromkeys(
        ("digest", "handle", "text", "words", "headings", *search_columns("")), text
    )
    pages |= dict.fromkeys(("page", "width", "height"), number)
    pages["thumbnail"] = pyarrow.binary()
    pages["vector"] = pyarrow.list_(pyarrow.float32(), metadata.dimensions)
    header = json.dumps({**vars(metadata), "version": SCHEMA_VERSION})
    return pyarrow.schema(files), pyarrow.schema(pages, metadata={"llava-tools": header})


def read_metadata(schema: Any, where: str) -> IndexMetadata:
    """Return the metadata in the schema of `pages`.

    Raises:
        ForeignIndexError: Another program wrote the table, or another version of llava-tools.
    """
    try:
        header = json.loads((schema.metadata or {}).get(b"llava-tools", b"null"))
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise ForeignIndexError(f"llava-tools did not write the index in {where}.")
    version = header.pop("version", None)
    if version != SCHEMA_VERSION:
        raise ForeignIndexError(
            f"The index in {where} has schema {version}, and this version of llava-tools reads "
            f"schema {SCHEMA_VERSION}.",
            f"Delete it and index again: llava-tools index PATHS --to {where}",
        )
    match header:
        case {"model": str(model), "clip": str(clip), "dimensions": int(dimensions), **others}:
            if not others and dimensions > 0:
                return IndexMetadata(model, clip, dimensions)
    raise ForeignIndexError(f"The index in {where} does not name its model.")


def to_arrow(
    rows: Sequence[PageRow] | Sequence[DocumentRow] | Sequence[ImageRow], schema: Any
) -> Any:
    """Return rows as an Arrow table."""
    import pyarrow

    return pyarrow.Table.from_pylist([_columns(row) for row in rows], schema=schema)


def _columns(row: PageRow | DocumentRow | ImageRow) -> dict[str, Any]:
    derived = search_columns(row.text) if isinstance(row, PageRow) else {}
    return vars(row) | derived


def is_one_of(column: str, values: Iterable[str | int | float]) -> str:
    """Return the condition that a column has one of these values."""
    listed = ", ".join(map(quoted, values))
    return f"{column} IN ({listed})" if listed else "false"


def quoted(value: str | int | float) -> str:
    """Return a value as LanceDB's conditions write it."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(float(value))
