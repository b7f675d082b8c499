"""Work that overlaps: an iterator that runs ahead of its reader, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

Item = TypeVar("Item")

_DONE = object()


@contextmanager
def ahead(items: Generator[Item], room: int) -> Iterator[Iterable[Item]]:
    """Run a generator ahead of its reader by at most `room` items, which are all it keeps.

    What it raises is raised to the reader. Leaving the context stops it after the item that it is
    at, closes it and waits for that.
    """
    made: queue.Queue[object] = queue.Queue(room)
    left = threading.Event()

    def put(item: object) -> None:
        while not left.is_set():
            try:
                return made.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            with closing(items):
                for item in items:
                    put(item)
                    if left.is_set():
                        return
            put(_DONE)
        except BaseException as error:  # noqa: BLE001 - handed over and raised to the reader
            put(_Raised(error))

    def read() -> Generator[Item]:
        while (item := made.get()) is not _DONE:
            if isinstance(item, _Raised):
                raise item.error
            yield item  # type: ignore[misc]

    thread = threading.Thread(target=work, name="llava-tools-ahead", daemon=True)
    thread.start()
    try:
        yield read()
    finally:
        left.set()
        thread.join()


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error
