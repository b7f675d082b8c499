"""Retries over scripted backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from langchain_llava import ChatLlava
from llava_tools import model_cache
from llava_tools.core import retry
from llava_tools.core.backend import Backend, Stream
from llava_tools.core.outputs import Chunk, collect
from llava_tools.core.requests import Message, Request
from llava_tools.core.retry import RetryingBackend, with_retries
from llava_tools.errors import (
    EngineCrashedError,
    EngineError,
    LlavaToolsError,
    QueueFullError,
)
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend

REQUEST = Request((Message("user", ("hi",)),))


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
