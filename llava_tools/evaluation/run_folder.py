"""The output folder of a run: made, and locked, since two processes must not write to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llava_tools.errors import RequestError, require


@contextmanager
def run_folder(folder: Path) -> Iterator[None]:
    """Make a folder, and keep other processes from writing to it; a kill releases it.

    Raises:
        RequestError: It cannot be made or written, or another run writes to it.
        MissingExtraError: filelock is not installed.
    """
    require("filelock", extra="eval")
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise RequestError(
            f"Another run writes to {folder}.", "Wait until it has finished, or stop it."
        ) from None
    except OSError as error:
        raise RequestError(
            f"The folder {folder} cannot be used: {error.strerror or error}.",
            "Choose another one with --out.",
        ) from error
    try:
        yield
    finally:
        lock.release()
