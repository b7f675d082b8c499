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
import torch
from PIL import Image

from llava_tools import Llava
from llava_tools.engine.engine import LlavaEngine
from llava_tools.errors import (
    ContextOverflowError,
    EngineClosedError,
    EngineCrashedError,
    QueueFullError,
    RequestError,
)

LONG = {"max_tokens": 400, "stop": "never ever"}


def _engine(model: Llava) -> LlavaEngine:
    engine = model.backend
    assert isinstance(engine, LlavaEngine)
    return engine


def _endless(model: Llava) -> None:
    """Take the end of turn away, so that answers run until they are stopped."""
    _engine(model)._runtime._end_of_turn = []
    _engine(model)._ends = ()


def _idle(model: Llava) -> bool:
    engine = _engine(model)
    return engine._runtime.in_flight == 0 and not engine._held


def test_closing_a_stream_stops_the_generation(fresh: Callable[..., Llava]) -> None:
    model = fresh()
    _endless(model)
    stream = model.stream("Tell a long story.", **LONG)
    next(stream)
    stream.close()
    assert _idle(model)
    assert list(stream) == []
    model.ask("Still there?", max_tokens=2)
    processor = _engine(model)._runtime._manager.batch_processor
    assert processor is not None
    assert not processor.scheduler.active_requests


def test_a_stream_that_is_dropped_stops_too(fresh: Callable[..., Llava]) -> None:
    model = fresh()
    _endless(model)
    next(model.stream("Tell a long story.", **LONG))
    gc.collect()
    model.ask("Still there?", max_tokens=3)
    assert _idle(model)


def test_a_stream_that_is_never_read_holds_nothing_for_ever(fresh: Callable[..., Llava]) -> None:
    model = fresh(max_concurrent_requests=1)
    for _ in range(3):
        stream = model.stream("Hello?", max_tokens=1)
        while _engine(model)._runtime.in_flight:
            pass
        del stream
        gc.collect()
    assert model.ask("Still there?", max_tokens=1).usage.completion_tokens == 1
    assert _idle(model)


async def test_cancelling_a_task_stops_the_generation(fresh: Callable[..., Llava]) -> None:
    model = fresh()
    _endless(model)
    begun = asyncio.Event()

    async def listen() -> None:
        async for _ in model.astream("Tell a long story.", **LONG):
            begun.set()

    task = asyncio.create_task(listen())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _idle(model)


async def test_many_tasks_run_in_one_batch(
    fresh: Callable[..., Llava], images: list[Image.Image]
) -> None:
    model = fresh()
    alone = [model.ask("What is it?", image, max_tokens=6).text for image in images]
    together = await asyncio.gather(
        *(model.aask("What is it?", image, max_tokens=6) for image in images)
    )
    assert [answer.text for answer in together] == alone


def test_one_request_too_many_is_refused_and_the_next_one_works(
    fresh: Callable[..., Llava],
) -> None:
    model = fresh(max_concurrent_requests=2)
    _endless(model)
    streams = [model.stream("Tell a long story.", **LONG) for _ in range(2)]
    with pytest.raises(QueueFullError, match="2 requests are in flight"):
        model.ask("And me?")
    streams[0].close()
    assert model.ask("And me?", max_tokens=3).usage.completion_tokens == 3
    streams[1].close()


def test_a_crashed_step_fails_its_requests_and_the_next_one_works(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh()
    expected = model.ask("What is it?", images[0], max_tokens=6).text
    decoder = _engine(model)._runtime._decoder
    layer = decoder.model.layers[0]
    whole = layer.forward

    def broken(*args: object, **kwargs: object) -> torch.Tensor:
        raise RuntimeError("a fuse blew")

    monkeypatch.setattr(layer, "forward", broken)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(model.ask, "What is it?", image) for image in images[:4]]
    for future in asked:
        error = future.exception()
        assert isinstance(error, EngineCrashedError)
        assert "a fuse blew" in str(error)
        assert error.retryable
    monkeypatch.setattr(layer, "forward", whole)
    assert model.ask("What is it?", images[0], max_tokens=6).text == expected
    assert _idle(model)


def test_closing_fails_what_is_in_flight(fresh: Callable[..., Llava]) -> None:
    model = fresh()
    _endless(model)
    stream = model.stream("Tell a long story.", **LONG)
    next(stream)
    waiter = threading.Thread(target=_engine(model).close)
    waiter.start()
    with pytest.raises(EngineClosedError):
        list(stream)
    waiter.join()
    with pytest.raises(EngineClosedError):
        model.ask("Anyone?")
    _engine(model).close()


def test_a_bad_request_leaves_nothing_behind(
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


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)"])
def test_the_interpreter_ends_whatever_the_engine_does(checkpoint: Path, ending: str) -> None:
    program = f"""
from llava_tools import Llava
model = Llava({str(checkpoint)!r})
stream = model.stream("Tell a long story.", max_tokens=300)
next(stream)
{ending}
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=120, capture_output=True)
    assert done.returncode == (3 if "SystemExit" in ending else 0), done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert b"Fatal" not in done.stderr
