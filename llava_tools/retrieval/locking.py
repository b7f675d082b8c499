"""One writer at a time: a lock file in an index's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llava_tools.errors import IndexStoreError, require
from llava_tools.images.sources import shorten
from llava_tools.retrieval.location import IndexLocation


@contextmanager
def write_lock(location: IndexLocation) -> Iterator[None]:
    """Keep other processes from writing to an index; `IndexStoreError` if one is writing.

    A killed process releases the lock. Object storage has no locks: there, `Store` notices the
    commits of another writer.
    """
    if location.folder is None:
        yield
        return
    require("filelock", extra="documents")
    from filelock import FileLock, Timeout

    with location.translate_errors():
        _make_folder(location.folder)
        lock = FileLock(location.folder / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise IndexStoreError(
                f"The index in {shorten(location)} is being written by another process.",
                "Wait until that process has finished.",
            ) from None
    try:
        yield
    finally:
        lock.release()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise IndexStoreError(
            f"The folder {shorten(folder)} cannot be made: {error.strerror}.",
            "Index into another folder.",
        ) from error
