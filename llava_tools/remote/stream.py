"""`RemoteStream`: a stream that the client's loop fills and the caller's thread reads.

`SecretlessStream` is in front of it, and of what parses its text.
"""

from __future__ import annotations

import os
import queue
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, aclosing
from functools import partial
from typing import Any

from llava_tools.core.backend import Stream
from llava_tools.core.outputs import Chunk
from llava_tools.remote.errors import connection_closed, forked

_Item = Chunk | BaseException | None
_Start = Callable[[Coroutine[Any, Any, None]], Future[None]]


class RemoteStream:
    """A `Stream` over the chunks of a request. Closing or dropping it ends the HTTP request.

    `start` runs a task on the client's loop. `on_end` is called once when that task has ended, with
    or without an error.
    """

    def __init__(
        self, chunks: AsyncGenerator[Chunk], start: _Start, on_end: Callable[[], None]
    ) -> None:
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._process = os.getpid()
        self._ended = True  # until there is a task to cancel
        self._task = start(_pump(chunks, self._items))
        self._ended = False
        self._task.add_done_callback(partial(_end, self._items, on_end))

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._ended:
            raise StopIteration
        if self._is_forked:
            raise forked()
        item = self._items.get()
        if self._ended:  # closed meanwhile
            raise StopIteration
        if isinstance(item, Chunk):
            return item
        self._ended = True
        if item is not None:
            raise item
        raise StopIteration

    def close(self) -> None:
        """See `Stream.close`."""
        if not self._ended:
            self._ended = True
            if not self._is_forked:
                self._task.cancel()  # its callback wakes a blocked `__next__`

    def __del__(self) -> None:
        if not self._ended and not self._is_forked:
            self._task.cancel()

    @property
    def _is_forked(self) -> bool:
        """Whether the task is the parent's of this process."""
        return os.getpid() != self._process


class SecretlessStream:
    """A stream whose errors show no secret, which the text of an answer may hold.

    Args:
        stream: The stream.
        hidden_secrets: See `llava_tools.remote.client.Client`.
    """

    def __init__(
        self, stream: Stream, hidden_secrets: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._stream = stream
        self._hidden_secrets = hidden_secrets

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        with self._hidden_secrets():
            chunk = next(self._stream, None)
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """See `Stream.close`."""
        self._stream.close()


# These hold no reference to the stream, so that a dropped stream is collected and ends its request.


async def _pump(chunks: AsyncGenerator[Chunk], items: queue.SimpleQueue[_Item]) -> None:
    async with aclosing(chunks):
        async for chunk in chunks:
            items.put(chunk)


def _end(items: queue.SimpleQueue[_Item], on_end: Callable[[], None], task: Future[None]) -> None:
    """Put the task's error, or None, as the last item."""
    on_end()
    items.put(connection_closed() if task.cancelled() else task.exception())
