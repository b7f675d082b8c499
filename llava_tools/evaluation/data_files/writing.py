"""Writes to an output folder: what cannot be written is an error of one line, never half a line."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from llava_tools.errors import RequestError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file or folder is written into an error that names it.

    Raises:
        RequestError: It cannot be written, as on a full disk.
    """
    try:
        yield
    except OSError as error:
        raise RequestError(
            f"{path} cannot be written: {error.strerror or error}.",
            "Free space on the disk, or check the folder's permissions.",
        ) from error


def replace_text(path: Path, text: str) -> None:
    """Write a file. A previous one stays until the new one is complete.

    Raises:
        RequestError: It cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    with writing(path):
        part.write_text(text, encoding="utf-8")
        part.replace(path)


def append_line(file: FileIO, line: bytes) -> None:
    """Append a line as one write; if only a part fits on the disk, remove that part.

    Raises:
        OSError: It cannot be written.
    """
    end = file.seek(0, os.SEEK_END)
    if file.write(line) < len(line):
        file.truncate(end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
