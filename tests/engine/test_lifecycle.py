"""Cancellation, a full queue, crashes, closing, and the end of the interpreter."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from llava_tools import Llava
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.step import StepLogits
from llava_tools.errors import (
    ContextOverflowError,
    EngineClosedError,
    EngineCrashedError,
    QueueFullError,
    RequestError,
)
from tests.checkpoints import write_checkpoint

LONG = {"max_tokens": 400, "stop": "never ever"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose answers end only at `max_tokens`."""
    return write_checkpoint(tmp_path_factory.mktemp("endless"), endless=True)


def _engine(model: Llava) -> LlavaEngine:
    engine = model.backend
    assert isinstance(engine, LlavaEngine)
    return engine


def test_closing_a_stream_stops_the_generation(fresh: Callable[..., Llava]) -> None:
    model = fresh()
    stream = model.stream("Tell a long story.", **LONG)
    next(stream)
    stream.close()
    assert _engine(model).idle
    assert list(stream) == []
    model.ask("Still there?", max_tokens=2)


def test_dropping_a_stream_stops_the_generation(fresh: Callable[..., Llava]) -> None:
    model = fresh()
    next(model.stream("Tell a long story.", **LONG))
    gc.collect()
    model.ask("Still there?", max_tokens=3)
    assert _engine(model).idle


def test_a_stream_that_is_never_read_is_released_when_dropped(fresh: Callable[..., Llava]) -> None:
    model = fresh(max_concurrent_requests=1)
    for _ in range(3):
        stream = model.stream("Hello?", max_tokens=1)
        while not _engine(model).loop.idle:
            pass
        del stream
        gc.collect()
    assert model.ask("Still there?", max_tokens=1).usage.completion_tokens == 1
    assert _engine(model).idle


async def test_cancelling_a_task_stops_the_generation(fresh: Callable[..., Llava]) -> None:
    model = fresh()
    started = asyncio.Event()

    async def read() -> None:
        async for _ in model.astream("Tell a long story.", **LONG):
            started.set()

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _engine(model).idle


async def test_many_tasks_run_in_one_batch(
    fresh: Callable[..., Llava], images: list[Image.Image]
) -> None:
    model = fresh()
    alone = [model.ask("What is it?", image, max_tokens=6).text for image in images]
    together = await asyncio.gather(
        *(model.aask("What is it?", image, max_tokens=6) for image in images)
    )
    assert [answer.text for answer in together] == alone


def test_a_request_beyond_the_limit_is_refused_and_a_later_one_works(
    fresh: Callable[..., Llava],
) -> None:
    model = fresh(max_concurrent_requests=2)
    streams = [model.stream("Tell a long story.", **LONG) for _ in range(2)]
    with pytest.raises(QueueFullError, match="2 requests are in flight"):
        model.ask("And me?")
    streams[0].close()
    assert model.ask("And me?", max_tokens=3).usage.completion_tokens == 3
    streams[1].close()


def test_a_crashed_step_fails_its_requests_and_the_next_request_works(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh()
    expected = model.ask("What is it?", images[0], max_tokens=6).text
    runner = _engine(model).loop.runner
    original = runner.run

    def broken(*_: object) -> StepLogits:
        raise RuntimeError("out of order")

    monkeypatch.setattr(runner, "run", broken)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(model.ask, "What is it?", image) for image in images[:4]]
    for future in futures:
        error = future.exception()
        assert isinstance(error, EngineCrashedError)
        assert "out of order" in str(error)
        assert error.retryable
    monkeypatch.setattr(runner, "run", original)
    assert model.ask("What is it?", images[0], max_tokens=6).text == expected
    assert _engine(model).idle


def test_closing_the_engine_fails_requests_in_flight(fresh: Callable[..., Llava]) -> None:
    model = fresh()
    stream = model.stream("Tell a long story.", **LONG)
    next(stream)
    closing = threading.Thread(target=_engine(model).close)
    closing.start()
    with pytest.raises(EngineClosedError):
        list(stream)
    closing.join()
    with pytest.raises(EngineClosedError):
        model.ask("Still there?")
    _engine(model).close()


def test_a_bad_request_holds_no_slot(
    fresh: Callable[..., Llava], tmp_path: Path, images: list[Image.Image]
) -> None:
    model = fresh(max_concurrent_requests=1)
    for _ in range(3):
        with pytest.raises(ContextOverflowError, match="16 tokens each"):
            model.ask("word " * 600, images[:2])
        with pytest.raises(ContextOverflowError):
            model.ask("Hello", max_tokens=511)
        with pytest.raises(RequestError):
            model.ask("")
    assert model.ask("Hello", max_tokens=1).usage.completion_tokens == 1


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)"])
def test_the_interpreter_exits_while_the_engine_runs(checkpoint: Path, ending: str) -> None:
    program = f"""
from llava_tools import Llava
model = Llava({str(checkpoint)!r})
stream = model.stream("Tell a long story.", max_tokens=300)
next(stream)
{ending}
"""
    process = subprocess.run([sys.executable, "-c", program], timeout=120, capture_output=True)
    assert process.returncode == (3 if "SystemExit" in ending else 0), process.stderr.decode()
    assert b"Traceback" not in process.stderr
    assert b"Fatal" not in process.stderr
