"""Memory runs out within a step: the largest request fails, the others go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from PIL import Image

from llava_tools import Llava
from llava_tools.core.outputs import collect
from llava_tools.core.requests import Message, Request
from llava_tools.engine import sampler
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.step import Share, StepLogits
from llava_tools.engine.tokenizer import IncrementalDecoder, Tokenizer
from llava_tools.errors import EngineCrashedError, EngineError, MemoryExhaustedError

ALLOCATOR = RuntimeError(
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
)
LONG = "word " * 60
QUESTIONS = ["What is it?", "How many?", "Left or right of the line?"]


class LimitedModel:
    """Makes an engine's model fail for too many rows, and wait for `start` before its first step.

    Args:
        engine: Its model is patched until `monkeypatch` undoes it.
        rows: Rows that there is memory for.
        error: Raised for more.
    """

    def __init__(
        self,
        engine: LlavaEngine,
        monkeypatch: pytest.MonkeyPatch,
        rows: int,
        error: Exception = ALLOCATOR,
    ) -> None:
        self.start = threading.Event()
        self.rows = rows
        self.failed_sizes: list[int] = []
        runner = engine.loop.runner
        original = runner.run

        def run(shares: Sequence[Share]) -> StepLogits:
            assert self.start.wait(30)
            if sum(share.rows for share in shares) > self.rows:
                self.failed_sizes.append(len(shares))
                raise error
            return original(shares)

        monkeypatch.setattr(runner, "run", run)


def engine_of(model: Llava) -> LlavaEngine:
    engine = model.backend
    assert isinstance(engine, LlavaEngine)
    return engine


def run_together(
    model: Llava, limited: LimitedModel, questions: list[tuple[str, Any]], **options: Any
) -> list[tuple[int, ...] | EngineError]:
    """Queue questions in this order, start the model, and return tokens or errors."""
    streams = [model.stream(question, image, **options) for question, image in questions]
    limited.start.set()
    results: list[tuple[int, ...] | EngineError] = []
    for stream in streams:
        try:
            results.append(collect(stream, "").token_ids)
        except EngineError as error:
            results.append(error)
    return results


@pytest.mark.parametrize("error", [ALLOCATOR, torch.OutOfMemoryError("CUDA"), MemoryError()])
def test_the_largest_request_fails_and_the_others_answer_as_alone(
    fresh: Callable[..., Llava],
    images: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    model = fresh(prefix_caching=False)
    questions = [(question, images[n]) for n, question in enumerate(QUESTIONS)]
    alone = [model.ask(*question, max_tokens=12) for question in questions]
    large = (LONG, images[3])
    expected = model.ask(*large, max_tokens=12).token_ids
    with monkeypatch.context() as patched:
        rows = sum(answer.usage.prompt_tokens for answer in alone)
        limited = LimitedModel(engine_of(model), patched, rows, error)
        *others, failure = run_together(model, limited, [*questions, large], max_tokens=12)
        assert isinstance(failure, MemoryExhaustedError)
        assert "beside" in str(failure)
        assert "Try again when fewer requests run" in str(failure)
        assert failure.retryable
        assert others == [answer.token_ids for answer in alone]
        assert max(limited.failed_sizes) > 1  # it failed in a step that others were in
    assert model.ask(*large, max_tokens=12).token_ids == expected
    assert engine_of(model).idle


def test_a_running_stream_goes_on(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh()
    options = {"max_tokens": 60, "temperature": 1.0, "seed": 5, "stop": "never ever"}
    alone = model.ask("Tell a story.", images[0], **options)
    limited = LimitedModel(engine_of(model), monkeypatch, rows=alone.usage.prompt_tokens)
    limited.start.set()
    stream = model.stream("Tell a story.", images[0], **options)
    chunks = [next(stream)]
    with pytest.raises(MemoryExhaustedError):
        model.ask(LONG, images[1], max_tokens=4)
    chunks += stream
    assert tuple(token for chunk in chunks for token in chunk.token_ids) == alone.token_ids
    assert engine_of(model).idle


def test_requests_that_waited_for_the_largest_run_without_it(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh()
    other = fresh(prefix_caching=False)
    alone = [other.ask(question, images[0], max_tokens=6) for question in QUESTIONS]
    rows = sum(answer.usage.prompt_tokens for answer in alone)
    limited = LimitedModel(engine_of(model), monkeypatch, rows=rows)
    questions = [(LONG + LONG, images[0]), *((question, images[0]) for question in QUESTIONS)]
    first, *others = run_together(model, limited, questions, max_tokens=6)
    assert isinstance(first, MemoryExhaustedError)
    assert others == [answer.token_ids for answer in alone]
    assert engine_of(model).idle


def test_without_memory_for_any_request_each_fails_and_the_engine_stays(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh()
    expected = fresh().ask("What is it?", images[0], max_tokens=6).token_ids
    limited = LimitedModel(engine_of(model), monkeypatch, rows=0)
    questions = [(question, images[n % 2]) for n, question in enumerate(QUESTIONS)]
    for result in run_together(model, limited, questions, max_tokens=6):
        assert isinstance(result, MemoryExhaustedError)
    limited.rows = 10_000
    assert model.ask("What is it?", images[0], max_tokens=6).token_ids == expected
    assert engine_of(model).idle


def test_memory_that_runs_out_during_sampling_fails_all_and_the_engine_restarts(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grammar that has advanced cannot be set back, so such a step is not retried."""

    def exhausted(*_: object) -> object:
        raise ALLOCATOR

    model = fresh()
    expected = model.ask("What is it?", images[0], max_tokens=6).token_ids
    limited = LimitedModel(engine_of(model), monkeypatch, rows=10_000)
    with monkeypatch.context() as patched:
        patched.setattr(sampler, "_read", exhausted)
        questions = [("How many?", images[1]), ("What is it?", images[0])]
        for result in run_together(model, limited, questions, max_tokens=6, logprobs=True):
            assert isinstance(result, MemoryExhaustedError)
    assert model.ask("What is it?", images[0], max_tokens=6).token_ids == expected
    assert engine_of(model).idle


def test_other_errors_of_the_model_are_crashes(
    fresh: Callable[..., Llava], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh()
    limited = LimitedModel(engine_of(model), monkeypatch, rows=0, error=RuntimeError("broken"))
    limited.start.set()
    with pytest.raises(EngineCrashedError, match="broken"):
        model.ask("Hello?", max_tokens=2)


@pytest.mark.parametrize(
    ("holder", "method"), [(Tokenizer, "tokenize"), (IncrementalDecoder, "step")]
)
def test_memory_that_runs_out_beside_the_model_fails_one_request(
    fresh: Callable[..., Llava], monkeypatch: pytest.MonkeyPatch, holder: type, method: str
) -> None:
    """Its slot is free at once, though the caller keeps the stream and the error."""
    model = fresh(max_concurrent_requests=1)

    def exhausted(*_: object, **__: object) -> object:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(holder, method, exhausted)
        with pytest.raises(MemoryExhaustedError, match="not enough memory for the ") as caught:
            model.ask("What is it?", max_tokens=4)
    assert caught.value.retryable
    assert model.ask("What is it?", max_tokens=4).usage.completion_tokens == 4
    assert engine_of(model).idle


@pytest.mark.parametrize(
    ("count", "purpose"),
    [
        (lambda engine: engine.count_tokens(Request((Message("user", ("What?",)),))), "request"),
        (lambda engine: engine.token_ids("What?"), "text"),
    ],
    ids=["count_tokens", "token_ids"],
)
def test_memory_that_runs_out_while_tokens_are_counted_is_named(
    llava: Llava,
    monkeypatch: pytest.MonkeyPatch,
    count: Callable[[LlavaEngine], object],
    purpose: str,
) -> None:
    def exhausted(*_: object, **__: object) -> object:
        raise MemoryError

    monkeypatch.setattr(Tokenizer, "_ids", exhausted)
    with pytest.raises(MemoryExhaustedError, match=f"not enough memory for the {purpose}"):
        count(engine_of(llava))


def test_a_fault_in_the_text_of_an_answer_ends_its_request(
    fresh: Callable[..., Llava], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(max_concurrent_requests=1)

    def broken(*_: object) -> str:
        raise ValueError("no text")

    stream = model.stream("What is it?", max_tokens=400)
    monkeypatch.setattr(IncrementalDecoder, "step", broken)
    with pytest.raises(ValueError, match="no text"):
        next(stream)
    assert engine_of(model).idle
    assert list(stream) == []
