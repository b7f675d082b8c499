"""Access to an index's folder: one writer at a time, and plain errors when the disk refuses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from llava_tools.errors import IndexStoreError


@contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to an index; `IndexStoreError` if one is writing.

    The lock is SQLite's, which Python has on every system. A killed process releases it.
    """
    with translate_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(folder / "lock", timeout=0, isolation_level=None)
    with closing(lock):
        with translate_disk_errors(folder):
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                raise IndexStoreError(
                    f"The index in {str(folder)!r} is being written by another process.",
                    "Wait until that process has finished.",
                ) from error
        yield


@contextmanager
def translate_disk_errors(folder: Path) -> Iterator[None]:
    """Turn the errors of LanceDB (OSError, RuntimeError) and SQLite into `IndexStoreError`."""
    try:
        yield
    except (OSError, RuntimeError, sqlite3.OperationalError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise IndexStoreError(
            f"The index in {str(folder)!r} cannot be used ({reason}).",
            "Check the disk and its free space, then index again: indexed pages are kept.",
        ) from error
