"""`TimeLimitedStream`: a stream that raises when its time is up, whatever its backend is doing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic

from llava_tools.core.backend import Stream
from llava_tools.core.outputs import Chunk
from llava_tools.errors import AnswerTimeoutError


class TimeLimitedStream:
    """A stream within a time, which begins now.

    The stream is started and read in another thread, since its backend may block while it encodes
    images or waits. If the time is up meanwhile, that thread is abandoned: the stream is closed as
    soon as the backend returns.

    Args:
        start: Starts the stream, at the first `next`.
        timeout: Maximum duration of the answer in seconds, > 0.

    Raises:
        AnswerTimeoutError: While iterating: the time is up.
    """

    def __init__(self, start: Callable[[], Stream], timeout: float) -> None:
        self._timeout = timeout
        self._deadline = monotonic() + timeout
        # The reader's thread holds no reference to this object, so that it is collected if dropped.
        self._reader = _Reader(start, self._deadline)
        self._ended = False

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._ended:
            raise StopIteration
        item = self._read()
        if self._ended:  # closed meanwhile
            raise StopIteration
        if isinstance(item, Chunk):
            self._ended = item.finish_reason is not None
            return item
        self.close()
        if item is None:
            raise StopIteration
        raise item

    def close(self) -> None:
        """See `Stream.close`."""
        self._ended = True
        self._reader.stop()

    def __del__(self) -> None:
        # A finalizer may not wait for a lock, and `put` does not.
        self._reader.wanted.put(False)

    def _read(self) -> Chunk | BaseException | None:
        """Return the next chunk, None at the end, or the error."""
        if monotonic() < self._deadline:
            self._reader.request_chunk()
        while True:
            seconds = _seconds_until(self._deadline)
            with suppress(queue.Empty):
                return self._reader.items.get(timeout=seconds)
            if not seconds:
                return AnswerTimeoutError(
                    f"The answer was not finished after timeout={self._timeout} seconds.",
                    "Allow more time, or ask for fewer tokens (max_tokens).",
                )


class _Reader:
    """Reads a stream in a thread, a chunk at a time and only when it is wanted.

    Attributes:
        wanted: To the thread: True for the next chunk, False to close the stream.
        items: From the thread: chunks, and at last None or the error that ended the stream.
    """

    def __init__(self, start: Callable[[], Stream], deadline: float) -> None:
        self.wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.items: queue.SimpleQueue[Chunk | BaseException | None] = queue.SimpleQueue()
        self._start = start
        self._deadline = deadline
        self._stream: Stream | None = None
        self._stopped = False
        self._has_thread = False

    def request_chunk(self) -> None:
        """Have the thread put the next item."""
        if not self._has_thread:
            self._has_thread = True
            # A daemon: a backend that never returns must not keep the interpreter alive.
            threading.Thread(target=self._run, name="llava-tools-timeout", daemon=True).start()
        self.wanted.put(True)

    def stop(self) -> None:
        """Close the stream, now or when it has been started; end the thread and whoever waits."""
        self._stopped = True
        self.wanted.put(False)
        self.items.put(None)
        if self._stream is not None:
            self._stream.close()  # wakes the thread if the backend lets it wait for a chunk

    def _run(self) -> None:
        try:
            while self._is_wanted():
                if self._stream is None:
                    self._stream = self._start()
                    if self._stopped:  # `stop` did not see the stream
                        break
                item = next(self._stream, None)
                self.items.put(item)
                if item is None:
                    break
        except BaseException as error:  # noqa: BLE001 - raised again by who reads
            self.items.put(error)
        finally:
            if self._stream is not None:
                self._stream.close()

    def _is_wanted(self) -> bool:
        """Wait until the next chunk is wanted; False if it never will, or the time is up."""
        while True:
            seconds = _seconds_until(self._deadline)
            with suppress(queue.Empty):
                return self.wanted.get(timeout=seconds) and not self._stopped
            if not seconds:
                return False


def _seconds_until(deadline: float) -> float:
    """Return seconds to wait, 0.0 if the deadline has passed; never more than can be waited for."""
    return min(max(deadline - monotonic(), 0.0), threading.TIMEOUT_MAX)
