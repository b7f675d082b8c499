"""Overlapping steps: a generator that runs ahead of its consumer, in a thread of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")

_END = object()


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
        while (item := ahead.popleft().result()) is not _END:
            ahead.append(pool.submit(next, items, _END))
            yield item  # type: ignore[misc]
    finally:
        if stop is not None:
            stop()
        pool.shutdown(cancel_futures=True)
        items.close()
