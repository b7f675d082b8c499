"""Writing into an index's folder: one process at a time, and a clear word when the disk refuses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llava_tools.errors import IndexStoreError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to an index; a process that is killed lets go of it.

    SQLite's lock, since it is the one that Python has on every system.

    Raises:
        IndexStoreError: Another process is writing to it, or it cannot be written.
    """
    with writing(folder):
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
def writing(folder: Path) -> Iterator[None]:
    """Say what went wrong with the disk: LanceDB raises OSError and RuntimeError.

    Raises:
        IndexStoreError: The folder cannot be used.
    """
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
