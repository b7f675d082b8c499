"""Overlapping steps: a generator that runs ahead of its consumer, in a thread of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")

_END = object()
#: Seconds after which a wait looks for an interrupt.
_INTERVAL = 0.1


def prefetch(
    items: Generator[Item], size: int, stop: Callable[[], None] | None = None
) -> Generator[Item]:
    """Run a generator in a thread, at most `size` items ahead of the consumer.

    Errors of the generator are raised to the consumer. Closing stops it after its current item;
    `stop` is called first, and may end that item early.
    """
    pool = ThreadPoolExecutor(1, "llava-tools-prefetch")
    try:
        ahead = deque(pool.submit(next, items, _END) for _ in range(size))
        while (item := _await(ahead.popleft())) is not _END:
            ahead.append(pool.submit(next, items, _END))
            yield item  # type: ignore[misc]
    finally:
        if stop is not None:
            stop()
        pool.shutdown(cancel_futures=True)
        items.close()


def _await(future: Future[Item]) -> Item:
    """Return the result of a future; Ctrl-C ends the wait.

    The signal may reach another thread than the main one, which a wait without a timeout would not
    notice.
    """
    while not wait([future], _INTERVAL).done:
        pass
    return future.result()
