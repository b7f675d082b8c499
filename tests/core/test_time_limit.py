"""Answers that take too long end in time, whatever their backend is doing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from llava_tools.core import time_limit
from llava_tools.core.backend import Stream
from llava_tools.core.outputs import Chunk, collect
from llava_tools.core.requests import Message, Request
from llava_tools.core.retry import RetryingBackend
from llava_tools.core.time_limit import TimeLimitedStream
from llava_tools.errors import AnswerTimeoutError, QueueFullError, RequestError
from llava_tools.testing import ScriptedBackend
from tests.core.blocked_backend import PLACES, BlockedBackend, Place

REQUEST = Request((Message("user", ("hi",)),))


class BlockedStream:
    """A stream that returns some chunks and then blocks until it is closed."""

    def __init__(self, chunks: int) -> None:
        self._chunks_left = chunks
        self.blocked = threading.Event()
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._chunks_left:
            self._chunks_left -= 1
            return Chunk("word ")
        self.blocked.set()
        assert self.closed.wait(30)
        raise StopIteration

    def close(self) -> None:
        self.closed.set()


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time_limit, "monotonic", clock)
    return clock


@pytest.mark.parametrize("place", PLACES)
def test_timeout_raises_while_the_backend_blocks(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = BlockedBackend(place)
    # The time is up when the backend blocks, since a busy machine may start it late.
    monkeypatch.setattr(time_limit, "monotonic", lambda: float(backend.blocked.is_set()))
    stream = RetryingBackend(backend, 0.05, 0).stream(REQUEST)
    with pytest.raises(AnswerTimeoutError, match=r"timeout=0\.05 seconds"):
        list(stream)
    assert not backend.resumed.is_set()
    assert list(stream) == []
    backend.resume.set()
    assert backend.abandoned.wait(30)  # the request is cancelled behind it


@pytest.mark.parametrize("chunks", [0, 2])
def test_timeout_closes_the_stream(chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = BlockedStream(chunks)
    monkeypatch.setattr(time_limit, "monotonic", lambda: float(blocked.blocked.is_set()))
    stream = TimeLimitedStream(lambda: blocked, 0.01)
    texts: list[str] = []
    with pytest.raises(AnswerTimeoutError, match=r"timeout=0\.01 seconds"):
        texts.extend(chunk.text for chunk in stream)
    assert blocked.closed.is_set()
    assert list(stream) == []


def test_timeout_before_the_start_starts_nothing(clock: Clock) -> None:
    starts = [lambda: BlockedStream(0)]
    stream = TimeLimitedStream(lambda: starts.pop()(), 60)
    clock.seconds = 60
    with pytest.raises(AnswerTimeoutError):
        next(stream)
    assert len(starts) == 1


def test_timeout_does_not_change_a_fast_answer() -> None:
    stream = RetryingBackend(ScriptedBackend(["all went well"]), 60.0, 0).stream(REQUEST)
    assert collect(stream, "m").text == "all went well"
    assert list(stream) == []


@pytest.mark.parametrize("timeout", [1e300, float("inf")])
def test_any_timeout_is_possible(timeout: float) -> None:
    stream = RetryingBackend(ScriptedBackend(["all went well"]), timeout, 0).stream(REQUEST)
    assert collect(stream, "m").text == "all went well"


def test_errors_of_the_backend_are_raised() -> None:
    class RefusingBackend(ScriptedBackend):
        def stream(self, request: Request) -> Stream:
            raise RequestError("no")

    with pytest.raises(RequestError, match="no"):
        list(RetryingBackend(RefusingBackend(), 60.0, 0).stream(REQUEST))


def test_retries_count_towards_the_time() -> None:
    class FullBackend(ScriptedBackend):
        def stream(self, request: Request) -> Stream:
            raise QueueFullError("The queue is full.")

    with pytest.raises(AnswerTimeoutError):
        list(RetryingBackend(FullBackend(), 0.01, 1_000_000).stream(REQUEST))


def test_a_stream_that_nobody_reads_is_closed_in_time() -> None:
    blocked = BlockedStream(3)
    stream = TimeLimitedStream(lambda: blocked, 0.5)
    assert next(stream).text == "word "
    assert blocked.closed.wait(30)
    with pytest.raises(AnswerTimeoutError):
        next(stream)


def test_chunks_are_read_only_when_they_are_wanted() -> None:
    backend = ScriptedBackend(["one two three"])
    stream = RetryingBackend(backend, 60.0, 0).stream(REQUEST)
    assert next(stream).text == "one"
    stream.close()
    assert list(stream) == []
    assert backend.closed_early == 1


def test_close_wakes_a_waiting_reader() -> None:
    blocked = BlockedStream(0)
    stream = TimeLimitedStream(lambda: blocked, 60)
    with ThreadPoolExecutor(1) as pool:
        chunks = pool.submit(list, stream)
        assert blocked.blocked.wait(30)
        stream.close()
        assert chunks.result(30) == []
    assert blocked.closed.is_set()


def test_a_dropped_stream_is_closed() -> None:
    inner = BlockedStream(2)
    stream = TimeLimitedStream(lambda: inner, 60)
    assert next(stream).text == "word "
    del stream
    assert inner.closed.wait(30)
