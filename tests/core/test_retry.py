"""Time limits and retries over scripted backends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from langchain_core.exceptions import ModelTimeoutError

from langchain_llava import ChatLlava
from llava_tools import model_cache
from llava_tools.core import retry
from llava_tools.core.backend import Backend, Stream
from llava_tools.core.outputs import Chunk, collect
from llava_tools.core.requests import Message, Request
from llava_tools.core.retry import RetryingBackend, RetryingStream, with_retries
from llava_tools.errors import (
    AnswerTimeoutError,
    EngineCrashedError,
    EngineError,
    LlavaToolsError,
    QueueFullError,
)
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend

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
        self.closed.wait()
        raise StopIteration

    def close(self) -> None:
        self.closed.set()


class FailingStream:
    """A stream that raises after some chunks."""

    def __init__(self, error: LlavaToolsError, chunks: int = 0) -> None:
        self._error = error
        self._chunks_left = chunks

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._chunks_left:
            self._chunks_left -= 1
            return Chunk("word ")
        raise self._error

    def close(self) -> None:
        pass


class FlakyBackend(ScriptedBackend):
    """Starts each stream with the next of `starts`, then as scripted."""

    def __init__(self, *starts: Callable[[], Stream]) -> None:
        super().__init__(["all went well"])
        self.starts = list(starts)

    def stream(self, request: Request) -> Stream:
        return self.starts.pop(0)() if self.starts else super().stream(request)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_PAUSE", 0.0)


def raise_queue_full() -> Stream:
    raise QueueFullError("The queue is full.", "Ask later.")


def start_timers_when_blocked(stream: BlockedStream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start time limits only when a stream blocks, since a busy machine may start it late."""

    class Timer(threading.Timer):
        def run(self) -> None:
            stream.blocked.wait()
            super().run()

    monkeypatch.setattr(threading, "Timer", Timer)


@pytest.mark.parametrize("chunks", [0, 2])
def test_timeout_closes_the_stream(chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = BlockedStream(chunks)
    start_timers_when_blocked(blocked, monkeypatch)
    stream = RetryingBackend(FlakyBackend(lambda: blocked), 0.01, 0).stream(REQUEST)
    with pytest.raises(AnswerTimeoutError, match=r"timeout=0\.01 seconds"):
        list(stream)
    assert blocked.closed.is_set()
    assert list(stream) == []


def test_timeout_before_the_start_starts_nothing() -> None:
    starts: list[Callable[[], Stream]] = [lambda: BlockedStream(0)]
    stream = RetryingStream(lambda: starts.pop()(), 60, 0)
    stream._expire()
    with pytest.raises(AnswerTimeoutError):
        next(stream)
    assert len(starts) == 1


@pytest.mark.parametrize("is_async", [False, True])
async def test_langchain_gets_its_own_timeout_error(
    is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedStream(1)
    start_timers_when_blocked(blocked, monkeypatch)
    model = ChatLlava(backend=FlakyBackend(lambda: blocked), timeout=0.01)
    with pytest.raises(ModelTimeoutError):
        await (model.ainvoke("x") if is_async else asyncio.to_thread(model.invoke, "x"))
    assert blocked.closed.is_set()


def test_timeout_does_not_change_a_fast_answer() -> None:
    stream = RetryingBackend(FlakyBackend(), 60.0, 0).stream(REQUEST)
    assert collect(stream, "m").text == "all went well"
    assert list(stream) == []


def test_without_limits_the_backend_is_not_wrapped() -> None:
    backend = ScriptedBackend(["a b"])
    assert with_retries(backend, None, 0) is backend
    assert isinstance(with_retries(backend, None, 1), RetryingBackend)
    assert isinstance(with_retries(backend, 1.0, 0), RetryingBackend)


def test_retryable_errors_are_retried() -> None:
    backend = FlakyBackend(
        raise_queue_full, lambda: FailingStream(EngineCrashedError("A step raised."))
    )
    stream = RetryingBackend(backend, None, 2).stream(REQUEST)
    assert collect(stream, "m").text == "all went well"


def test_retries_are_limited() -> None:
    backend = FlakyBackend(raise_queue_full, raise_queue_full)
    with pytest.raises(QueueFullError):
        list(RetryingBackend(backend, None, 1).stream(REQUEST))
    assert not backend.starts


def test_other_errors_are_not_retried() -> None:
    backend = FlakyBackend(lambda: FailingStream(EngineError("no")), raise_queue_full)
    with pytest.raises(EngineError, match="no"):
        list(RetryingBackend(backend, None, 5).stream(REQUEST))
    assert len(backend.starts) == 1


def test_stream_that_has_returned_a_chunk_is_not_retried() -> None:
    error = EngineCrashedError("A step raised.")
    backend = FlakyBackend(lambda: FailingStream(error, chunks=1), raise_queue_full)
    stream = RetryingBackend(backend, None, 5).stream(REQUEST)
    assert next(stream).text == "word "
    with pytest.raises(EngineCrashedError):
        next(stream)
    assert len(backend.starts) == 1


def test_close_closes_the_inner_stream() -> None:
    backend = ScriptedBackend(["a b c"])
    stream = RetryingBackend(backend, 60.0, 1).stream(REQUEST)
    next(stream)
    stream.close()
    stream.close()
    assert list(stream) == []
    assert backend.closed_early == 1


def test_other_methods_are_those_of_the_backend() -> None:
    backend = ScriptedBackend()
    retrying = RetryingBackend(backend, 60.0, 1)
    assert retrying.model_name == "scripted"
    assert retrying.context_length == backend.context_length
    assert retrying.count_tokens(REQUEST) == backend.count_tokens(REQUEST)
    assert retrying.token_ids("a b") == backend.token_ids("a b")
    assert retrying.score(REQUEST, ["a"]) == backend.score(REQUEST, ["a"])
    retrying.close()
    with pytest.raises(EngineError):
        backend.stream(REQUEST)


def test_chat_model_loads_its_backend_once_at_the_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads = []

    def load(options: EngineOptions) -> Backend:
        loads.append(options)
        return ScriptedBackend()

    monkeypatch.setattr(model_cache, "engines", model_cache.ModelCache(load))
    model = ChatLlava(timeout=60, max_retries=1)
    assert not loads
    for _ in range(2):
        assert model.invoke("x").text == "ok"
    assert len(loads) == 1
