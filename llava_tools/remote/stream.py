"""An answer on its way from a server: written by the loop's thread, read by the caller's."""

from __future__ import annotations

import queue
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import aclosing
from functools import partial
from typing import Any

from llava_tools.core.outputs import Chunk
from llava_tools.remote.client import closed

_Item = Chunk | BaseException | None
_Start = Callable[[Coroutine[Any, Any, None]], Future[None]]


class RemoteStream:
    """A `Stream` over what a task receives. Closing or dropping it ends the HTTP request.

    Args:
        chunks: The answer.
        start: Runs a task on the loop.
        done: Called once when the task is over, whichever way.
    """

    def __init__(
        self, deltas: AsyncGenerator[Chunk], start: _Start, done: Callable[[], None]
    ) -> None:
        self._arrived: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._over = True  # until there is something to cancel
        self._task = start(_pump(deltas, self._arrived))
        self._over = False
        self._task.add_done_callback(partial(_end, self._arrived, done))

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._over:
            raise StopIteration
        item = self._arrived.get()
        if self._over:  # closed meanwhile
            raise StopIteration
        if isinstance(item, Chunk):
            return item
        self._over = True
        if item is not None:
            raise item
        raise StopIteration

    def close(self) -> None:
        """See `Stream.close`."""
        if not self._over:
            self._over = True
            self._task.cancel()  # which wakes the reader

    def __del__(self) -> None:
        if not self._over:
            self._task.cancel()


# Neither knows the stream, so that one that is dropped is collected and ends its request.


async def _pump(deltas: AsyncGenerator[Chunk], arrived: queue.SimpleQueue[_Item]) -> None:
    """Hand an answer over."""
    async with aclosing(deltas):
        async for delta in deltas:
            arrived.put(delta)


def _end(arrived: queue.SimpleQueue[_Item], done: Callable[[], None], task: Future[None]) -> None:
    """Hand over how it ended."""
    done()
    arrived.put(closed() if task.cancelled() else task.exception())
