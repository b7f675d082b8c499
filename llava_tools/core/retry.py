"""Time limits and retries for any backend.

A stream that exceeds its time limit raises `AnswerTimeoutError`. A request that fails with a
retryable error (a full queue, a crashed step) is sent again, unless the stream has already returned
a chunk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from llava_tools.core.backend import Backend, Stream, WrappedBackend
from llava_tools.core.outputs import Chunk
from llava_tools.core.requests import Request
from llava_tools.core.time_limit import TimeLimitedStream
from llava_tools.errors import LlavaToolsError

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


def with_retries(backend: Backend, timeout: float | None, max_retries: int) -> Backend:
    """Return a backend with a time limit and retries, or the same backend if neither is set."""
    if timeout is None and not max_retries:
        return backend
    return RetryingBackend(backend, timeout, max_retries)


@dataclass(frozen=True)
class RetryingBackend(WrappedBackend):
    """A backend with a time limit and retries.

    Attributes:
        backend: Answers the requests.
        timeout: Maximum duration of an answer in seconds. None: no limit.
        max_retries: Maximum number of times that a request is sent again.
    """

    backend: Backend
    timeout: float | None
    max_retries: int

    def stream(self, request: Request) -> Stream:
        """See `Backend.stream`."""
        start = partial(self.backend.stream, request)
        if self.timeout is None:
            return RetryingStream(start, self.max_retries)
        return TimeLimitedStream(lambda: RetryingStream(start, self.max_retries), self.timeout)


class RetryingStream:
    """A stream that starts again after a retryable error, as long as it has returned no chunk."""

    def __init__(self, start: Callable[[], Stream], max_retries: int) -> None:
        self._start = start
        self._retries_left = max_retries
        self._pause = _FIRST_PAUSE
        self._stream: Stream | None = None
        self._has_returned_chunk = False
        self._closed = threading.Event()
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        while not self._closed.is_set():
            try:
                chunk = next(self._started_stream())
            except StopIteration:
                break
            except LlavaToolsError as error:
                if not error.retryable or self._has_returned_chunk or not self._retries_left:
                    self.close()
                    raise
                self._retries_left -= 1
                self._close_stream()
                self._closed.wait(self._pause)
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            else:
                self._has_returned_chunk = True
                return chunk
        self.close()
        raise StopIteration

    def close(self) -> None:
        """See `Stream.close`."""
        self._closed.set()
        self._close_stream()

    def _started_stream(self) -> Stream:
        if self._stream is None:
            stream = self._start()
            with self._lock:
                self._stream = stream
            if self._closed.is_set():  # `close` ran during `_start` and did not see the stream
                stream.close()
            return stream
        return self._stream

    def _close_stream(self) -> None:
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
