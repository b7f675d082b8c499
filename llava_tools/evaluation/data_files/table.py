"""Reads tables of tab-separated values whose images are base64, a row at a time.

Such a table has some hundred megabytes of images. They are checked and dropped; what is kept is
where each one stands, once for all rows with the same image.
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from llava_tools.evaluation.data_files.embedded_image import EmbeddedImage
from llava_tools.evaluation.data_files.entries import Entry
from llava_tools.evaluation.task import read_error

#: Characters in a field, at most. The `csv` module's own limit, 128 KiB, is less than an image has.
_FIELD_LIMIT = 1 << 28


def read_table(path: Path, image_column: str) -> Iterator[tuple[Entry, EmbeddedImage]]:
    """Yield the rows of a table, without their images, and where these stand in the file.

    Fields may be in quotation marks, and then have tabs and line feeds, as pandas writes them. The
    limit of the `csv` module is raised for the whole process.

    Args:
        path: The table; its first row has the names of its columns.
        image_column: The one that has the images.

    Raises:
        RequestError: The file is missing, or a row is broken; the message has the row's number.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_LIMIT))
    try:
        with path.open("rb") as file:
            yield from _rows(path, file, image_column)
    except OSError as error:
        raise read_error(path, (error.strerror or type(error).__name__).lower()) from error


def _rows(path: Path, file: BinaryIO, image_column: str) -> Iterator[tuple[Entry, EmbeddedImage]]:
    lines = _CountedLines(file)
    reader = csv.reader(lines, delimiter="\t", strict=True)
    columns: list[str] = []
    images: dict[bytes, EmbeddedImage] = {}
    number = 0
    while True:
        number += 1
        place = f"row {number}"
        try:
            fields = next(reader)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            raise read_error(path, f"{place}: it is no tab-separated text ({error})") from error
        start, source = lines.take()
        if not columns:
            columns = fields
            if image_column not in columns:
                raise read_error(path, f"it has no column {image_column!r}, but {columns!r:.200}")
            continue
        if not fields:  # a blank line
            continue
        if len(fields) != len(columns):
            raise read_error(path, f"{place}: it has {len(fields)} fields, not {len(columns)}")
        values = dict(zip(columns, fields, strict=True))
        text = values.pop(image_column).encode()
        entry = Entry(values, path, place)
        _check_base64(entry, image_column, text)
        image = EmbeddedImage(path, start + source.index(text), len(text))
        yield entry, images.setdefault(hashlib.sha256(text).digest(), image)


def _check_base64(entry: Entry, column: str, text: bytes) -> None:
    try:
        if base64.b64decode(text, validate=True):
            return
    except binascii.Error:
        pass
    raise entry.error(f"{column!r} is no base64")


class _CountedLines:
    """Iterates over the lines of a file; `take` returns the bytes read since its last call.

    `csv.reader` reads no more lines than a row has, so that these are the bytes of a row.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = 0
        self._lines: list[bytes] = []

    def __iter__(self) -> _CountedLines:
        return self

    def __next__(self) -> str:
        line = next(self._file)
        encoding = "utf-8" if self._start or self._lines else "utf-8-sig"
        self._lines.append(line)
        return line.decode(encoding)

    def take(self) -> tuple[int, bytes]:
        """Return where the bytes begin in the file, and the bytes."""
        start, source = self._start, b"".join(self._lines)
        self._start += len(source)
        self._lines = []
        return start, source
