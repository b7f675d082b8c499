"""Memory that runs out within a step: the request that takes most fails, the others go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from llava_tools import Llava
from llava_tools.core.outputs import collect
from llava_tools.engine.continuous_batching import sampler
from llava_tools.engine.cpu import llama
from llava_tools.engine.engine import LlavaEngine
from llava_tools.errors import EngineCrashedError, EngineError, MemoryExhaustedError

ALLOCATOR = RuntimeError(
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
)
LONG = "word " * 60
QUESTIONS = ["What is it?", "How many?", "Left or right of the line?"]


class Scarce:
    """A model that has memory for some rows only, and does not begin before it is let.

    Args:
        engine: Whose model it is; `monkeypatch` puts it back.
        rows: That it has memory for.
        error: What it says about more.
    """

    def __init__(
        self,
        engine: LlavaEngine,
        monkeypatch: pytest.MonkeyPatch,
        rows: int,
        error: Exception = ALLOCATOR,
    ) -> None:
        self.begin = threading.Event()
        self.rows = rows
        self.refused: list[int] = []
        model: Any = engine._runtime._decoder.model
        whole = model.forward

        def forward(**batch: Any) -> Any:
            assert self.begin.wait(30)
            if batch["input_ids"].shape[1] > self.rows:
                self.refused.append(len(batch["cu_seq_lens_q"]) - 1)
                raise error
            return whole(**batch)

        monkeypatch.setattr(model, "forward", forward)


def engine_of(model: Llava) -> LlavaEngine:
    engine = model.backend
    assert isinstance(engine, LlavaEngine)
    return engine


def at_once(
    model: Llava, scarce: Scarce, asked: list[tuple[str, Any]], **options: Any
) -> list[tuple[int, ...] | EngineError]:
    """Ask in this order; the model begins when all is queued. Return tokens or errors."""
    streams = [model.stream(question, image, **options) for question, image in asked]
    scarce.begin.set()
    ended: list[tuple[int, ...] | EngineError] = []
    for stream in streams:
        try:
            ended.append(collect(stream, "").token_ids)
        except EngineError as error:
            ended.append(error)
    return ended


def assert_idle(model: Llava) -> None:
    engine = engine_of(model)
    assert engine._runtime.in_flight == 0
    assert not engine._held
    assert engine._runtime._convoy is None or not len(engine._runtime._convoy)


@pytest.mark.parametrize("error", [ALLOCATOR, torch.OutOfMemoryError("CUDA"), MemoryError()])
def test_the_largest_request_fails_and_the_others_answer_as_alone(
    fresh: Callable[..., Llava],
    images: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    model = fresh(prefix_caching=False)
    asked = [(question, images[n]) for n, question in enumerate(QUESTIONS)]
    alone = [model.ask(*each, max_tokens=12) for each in asked]
    large = (LONG, images[3])
    before = model.ask(*large, max_tokens=12).token_ids
    manager = engine_of(model)._runtime._manager
    with monkeypatch.context() as patched:
        most = sum(answer.usage.prompt_tokens for answer in alone)
        scarce = Scarce(engine_of(model), patched, most, error)
        *others, told = at_once(model, scarce, [*asked, large], max_tokens=12)
        assert isinstance(told, MemoryExhaustedError)
        assert "beside" in str(told)
        assert "Ask again when fewer requests run" in str(told)
        assert told.retryable
        assert others == [one.token_ids for one in alone]
        assert max(scarce.refused) > 1  # it failed in a step that others were in
    assert model.ask(*large, max_tokens=12).token_ids == before
    assert engine_of(model)._runtime._manager is manager
    assert_idle(model)


def test_it_is_the_same_with_the_attention_of_transformers(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama, "suits", lambda decoder: False)
    test_the_largest_request_fails_and_the_others_answer_as_alone(
        fresh, images, monkeypatch, ALLOCATOR
    )


def test_a_stream_on_its_way_goes_on(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh()
    sampled = {"max_tokens": 60, "temperature": 1.0, "seed": 5, "stop": "never ever"}
    alone = model.ask("Tell a story.", images[0], **sampled)
    scarce = Scarce(engine_of(model), monkeypatch, rows=alone.usage.prompt_tokens)
    scarce.begin.set()
    stream = model.stream("Tell a story.", images[0], **sampled)
    told = [next(stream)]
    with pytest.raises(MemoryExhaustedError):
        model.ask(LONG, images[1], max_tokens=4)
    told += stream
    assert tuple(token for delta in told for token in delta.token_ids) == alone.token_ids
    assert_idle(model)


def test_those_that_waited_for_the_largest_go_ahead_without_it(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh()
    other = fresh(prefix_caching=False)
    alone = [other.ask(question, images[0], max_tokens=6) for question in QUESTIONS]
    most = sum(answer.usage.prompt_tokens for answer in alone)
    scarce = Scarce(engine_of(model), monkeypatch, rows=most)
    asked = [(LONG + LONG, images[0]), *((question, images[0]) for question in QUESTIONS)]
    leader, *others = at_once(model, scarce, asked, max_tokens=6)
    assert isinstance(leader, MemoryExhaustedError)
    assert others == [one.token_ids for one in alone]
    assert_idle(model)


def test_where_there_is_memory_for_nobody_each_is_told_and_the_engine_stays(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh()
    manager = engine_of(model)._runtime._manager
    expected = fresh().ask("What is it?", images[0], max_tokens=6).token_ids
    scarce = Scarce(engine_of(model), monkeypatch, rows=0)
    asked = [(question, images[n % 2]) for n, question in enumerate(QUESTIONS)]
    for ended in at_once(model, scarce, asked, max_tokens=6):
        assert isinstance(ended, MemoryExhaustedError)
    scarce.rows = 10_000
    assert model.ask("What is it?", images[0], max_tokens=6).token_ids == expected
    assert engine_of(model)._runtime._manager is manager
    assert_idle(model)


def test_what_runs_out_while_tokens_are_picked_costs_all_and_the_engine_starts_afresh(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grammar that was moved on cannot be moved back, so such a step is not repeated."""

    def exhausted(*_: object) -> object:
        raise ALLOCATOR

    model = fresh()
    expected = model.ask("What is it?", images[0], max_tokens=6).token_ids
    scarce = Scarce(engine_of(model), monkeypatch, rows=10_000)
    with monkeypatch.context() as patched:
        patched.setattr(sampler, "_record", exhausted)
        asked = [("How many?", images[1]), ("What is it?", images[0])]
        for ended in at_once(model, scarce, asked, max_tokens=6, logprobs=True):
            assert isinstance(ended, MemoryExhaustedError)
    assert model.ask("What is it?", images[0], max_tokens=6).token_ids == expected
    assert_idle(model)


def test_other_errors_of_the_model_are_no_shortage(
    fresh: Callable[..., Llava], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh()
    Scarce(engine_of(model), monkeypatch, rows=0, error=RuntimeError("a fuse blew")).begin.set()
    with pytest.raises(EngineCrashedError, match="a fuse blew"):
        model.ask("Hello?", max_tokens=2)
