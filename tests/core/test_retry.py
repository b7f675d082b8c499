from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from langchain_core.exceptions import ModelTimeoutError

from langchain_llava import ChatLlava
from llava_tools.core import retry
from llava_tools.core.backend import Stream
from llava_tools.core.outputs import Chunk, collect
from llava_tools.core.requests import Message, Request
from llava_tools.core.retry import RetryingBackend, RetryingStream
from llava_tools.errors import (
    AnswerTimeoutError,
    EngineCrashedError,
    EngineError,
    LlavaToolsError,
    QueueFullError,
)
from llava_tools.testing import ScriptedBackend

ASKED = Request((Message("user", ("hi",)),))


class Stuck:
    """A stream that gives some chunks and then nothing until it is closed."""

    def __init__(self, deltas: int) -> None:
        self._left = deltas
        self.stuck = threading.Event()
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._left:
            self._left -= 1
            return Chunk("word ")
        self.stuck.set()
        self.closed.wait()
        raise StopIteration

    def close(self) -> None:
        self.closed.set()


class Begins(ScriptedBackend):
    """Begins every stream with the next of `begins`, then as scripted."""

    def __init__(self, *begins: Callable[[], Stream]) -> None:
        super().__init__(["all went well"])
        self.begins = list(begins)

    def stream(self, request: Request) -> Stream:
        return self.begins.pop(0)() if self.begins else super().stream(request)


class Failing:
    """A stream that raises after some chunks."""

    def __init__(self, error: LlavaToolsError, deltas: int = 0) -> None:
        self._error = error
        self._left = deltas

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._left:
            self._left -= 1
            return Chunk("word ")
        raise self._error

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_PAUSE", 0.0)


def full() -> Stream:
    raise QueueFullError("The queue is full.", "Ask later.")


def patient(backend: ScriptedBackend, timeout: float | None, retries: int) -> RetryingBackend:
    return RetryingBackend(lambda: backend, timeout, retries)


def count_from(stream: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time limits begin when a stream is stuck: a busy machine may take longer to begin it."""

    class Timer(threading.Timer):
        def run(self) -> None:
            stream.stuck.wait()
            super().run()

    monkeypatch.setattr(threading, "Timer", Timer)


@pytest.mark.parametrize("deltas", [0, 2])
def test_a_stream_that_takes_too_long_is_closed(
    deltas: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck(deltas)
    count_from(stuck, monkeypatch)
    stream = patient(Begins(lambda: stuck), 0.01, 0).stream(ASKED)
    with pytest.raises(AnswerTimeoutError, match=r"timeout=0\.01 seconds"):
        list(stream)
    assert stuck.closed.is_set()
    assert list(stream) == []


def test_a_stream_whose_time_is_up_before_it_is_begun_never_is() -> None:
    begins: list[Callable[[], Stream]] = [lambda: Stuck(0)]
    stream = RetryingStream(lambda: begins.pop()(), 60, 0)
    stream._expire()
    with pytest.raises(AnswerTimeoutError):
        next(stream)
    assert len(begins) == 1


@pytest.mark.parametrize("waits", [False, True])
async def test_langchain_knows_the_error(waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck(1)
    count_from(stuck, monkeypatch)
    model = ChatLlava(backend=Begins(lambda: stuck), timeout=0.01)
    with pytest.raises(ModelTimeoutError):
        await (model.ainvoke("x") if waits else asyncio.to_thread(model.invoke, "x"))
    assert stuck.closed.is_set()


def test_enough_time_changes_nothing() -> None:
    stream = patient(Begins(), 60.0, 0).stream(ASKED)
    assert collect(stream, "m").text == "all went well"
    assert list(stream) == []


def test_without_limits_the_stream_is_the_backends_own() -> None:
    backend = ScriptedBackend(["a b"])
    assert type(patient(backend, None, 0).stream(ASKED)) is type(backend.stream(ASKED))


def test_what_may_pass_is_tried_again() -> None:
    backend = Begins(full, lambda: Failing(EngineCrashedError("A step raised.")))
    assert collect(patient(backend, None, 2).stream(ASKED), "m").text == "all went well"


def test_tries_are_counted() -> None:
    backend = Begins(full, full)
    with pytest.raises(QueueFullError):
        list(patient(backend, None, 1).stream(ASKED))
    assert not backend.begins


def test_what_will_not_pass_is_not_tried_again() -> None:
    backend = Begins(lambda: Failing(EngineError("no")), full)
    with pytest.raises(EngineError, match="no"):
        list(patient(backend, None, 5).stream(ASKED))
    assert len(backend.begins) == 1


def test_what_was_handed_out_is_not_begun_again() -> None:
    backend = Begins(lambda: Failing(EngineCrashedError("A step raised."), deltas=1), full)
    stream = patient(backend, None, 5).stream(ASKED)
    assert next(stream).text == "word "
    with pytest.raises(EngineCrashedError):
        next(stream)
    assert len(backend.begins) == 1


def test_closing_ends_the_stream_beneath() -> None:
    backend = ScriptedBackend(["a b c"])
    stream = patient(backend, 60.0, 1).stream(ASKED)
    next(stream)
    stream.close()
    stream.close()
    assert list(stream) == []
    assert backend.closed_early == 1


def test_the_backend_is_loaded_once_and_late() -> None:
    loads = []
    backend = ScriptedBackend()

    def load() -> ScriptedBackend:
        loads.append(1)
        return backend

    slow = RetryingBackend(load, None, 0)
    assert not loads
    assert slow.model_name == "scripted"
    assert slow.context_length == backend.context_length
    assert slow.count_tokens(ASKED) == backend.count_tokens(ASKED)
    slow.close()
    assert loads == [1]
