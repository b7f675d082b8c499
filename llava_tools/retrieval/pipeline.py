"""Overlapping steps: a generator that runs ahead of its consumer, in a thread of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")

_END = object()


def prefetch(items: Generator[Item], size: int) -> Generator[Item]:
    """Run a generator in a thread, at most `size` items ahead of the consumer.

    Errors of the generator are raised to the consumer. Closing stops it after its current item.
    """
    pool = ThreadPoolExecutor(1, "llava-tools-prefetch")
    try:
        ahead = deque(pool.submit(next, items, _END) for _ in range(size))
        while (item := ahead.popleft().result()) is not _END:
            ahead.append(pool.submit(next, items, _END))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()
