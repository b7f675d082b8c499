"""Replayed decode steps answer as computed ones do; here with a stand-in for CUDA graphs."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from llava_tools import Llava, Message
from llava_tools.core.constraints import Constraint
from llava_tools.core.outputs import Answer, collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.engine import decode_graphs, engine, kv_cache
from llava_tools.engine.attention.cuda import CudaAttention, decode_in_torch
from llava_tools.engine.decode_graphs import DecodeGraphs
from llava_tools.engine.decoder import Decoder
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.kv_cache import MemoryBudget
from llava_tools.images import open_image
from tests.engine.replay import RecordingCapture

CPU = torch.device("cpu")


#: Values of bounded length, since random weights write on and on.
FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "shape": {"enum": ["circle", "square", "star"]},
        "sides": {"type": "integer", "minimum": 0, "maximum": 99},
        "name": {"type": "string", "pattern": "^[a-z ]{3,8}$"},
    },
    "required": ["shape", "sides", "name"],
    "additionalProperties": False,
}


@contextmanager
def cuda_on_the_cpu(*, graphs: bool) -> Iterator[RecordingCapture]:
    """Engines made meanwhile attend as on a GPU, and replay steps with a stand-in."""
    capture = RecordingCapture()
    with pytest.MonkeyPatch.context() as patched:
        attention = CudaAttention(CPU, decode_in_torch, reads_blocks=graphs)
        patched.setattr(engine, "make_attention", lambda device: attention)
        patched.setattr(decode_graphs, "CudaCapture", lambda device: capture)
        yield capture


@pytest.fixture
def pair(fresh: Callable[..., Llava]) -> Callable[..., tuple[Llava, Llava, RecordingCapture]]:
    """Makes two models that attend as on a GPU; the second one replays its decode steps."""

    def make(**options: Any) -> tuple[Llava, Llava, RecordingCapture]:
        with cuda_on_the_cpu(graphs=False):
            computed = fresh(**options)
        with cuda_on_the_cpu(graphs=True) as capture:
            return computed, fresh(**options), capture

    return make


def questions(images: list[Image.Image], count: int) -> list[dict[str, Any]]:
    """Requests of many kinds and lengths, with and without images."""
    rng = random.Random(count)
    kinds: list[dict[str, Any]] = [
        {},
        {"temperature": 0.9, "seed": 7},
        {"temperature": 1.3, "seed": 8, "top_k": 12, "top_p": 0.9},
        {"logprobs": True, "top_logprobs": 3},
    ]
    return [
        {
            "question": "What is number " + "very " * rng.randrange(30) + f"{n}?",
            "images": rng.sample(images, n % 3),
            "max_tokens": rng.randrange(2, 30),
            **kinds[n % 4],
        }
        for n in range(count)
    ]


def ask_all(model: Llava, requests: list[dict[str, Any]]) -> list[Any]:
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda request: model.ask(**request), requests))


def test_answers_are_those_of_computed_steps_alone_and_together(
    pair: Callable[..., tuple[Llava, Llava, RecordingCapture]], images: list[Image.Image]
) -> None:
    computed, replayed, capture = pair()
    requests = questions(images, 24)
    expected = [computed.ask(**request) for request in requests]
    alone = [replayed.ask(**request) for request in requests[:8]]
    assert capture.captures == 1, "one request at a time has one size"
    together = ask_all(replayed, requests)
    assert 3 < capture.captures <= len(decode_graphs.SIZES)
    assert capture.replays > 100
    for answer, other in zip([*expected[:8], *expected], [*alone, *together], strict=True):
        assert other.token_ids == answer.token_ids
        assert len(other.logprobs) == len(answer.logprobs)
        for token, exact in zip(other.logprobs, answer.logprobs, strict=True):
            assert token.logprob == pytest.approx(exact.logprob, abs=1e-4)
            assert [item for item, _ in token.top] == [item for item, _ in exact.top]
    assert len({answer.token_ids for answer in expected}) > 20


def test_replayed_steps_follow_grammars(
    pair: Callable[..., tuple[Llava, Llava, RecordingCapture]], images: list[Image.Image]
) -> None:
    computed, replayed, capture = pair()

    def answer(model: Llava, number: int) -> Answer:
        sampling: list[dict[str, Any]] = [
            {},
            {"temperature": 1.5, "seed": number},
            {"logprobs": True},
        ]
        request = Request(
            (Message("user", (open_image(images[number % 2]), f"Which is number {number}?")),),
            SamplingParams(max_tokens=80, **sampling[number % 3]),
            Constraint(schema=FORM),
        )
        return collect(model.backend.stream(request), "")

    expected = [answer(computed, number) for number in range(9)]
    assert {len(json.loads(item.text)) for item in expected} == {3}
    assert len({item.text for item in expected}) > 3
    with ThreadPoolExecutor(9) as pool:
        answers = list(pool.map(lambda number: answer(replayed, number), range(9)))
    assert [item.token_ids for item in answers] == [item.token_ids for item in expected]
    assert capture.replays


def test_sequences_that_give_up_their_blocks_answer_the_same(
    pair: Callable[..., tuple[Llava, Llava, RecordingCapture]],
    images: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        kv_cache, "CPU_BUDGET", MemoryBudget(step_tokens=128, kv_tokens=0, kv_share=1e-9)
    )
    computed, replayed, capture = pair()
    requests = [{**request, "max_tokens": 60} for request in questions(images, 20)]
    expected = [computed.ask(**request).token_ids for request in requests]
    assert [answer.token_ids for answer in ask_all(replayed, requests)] == expected
    assert capture.replays


def graphs_of(model: Llava) -> DecodeGraphs | None:
    backend = model.backend
    assert isinstance(backend, LlavaEngine)
    graphs = backend.loop.runner.graphs
    assert graphs is None or isinstance(graphs, DecodeGraphs)
    return graphs


def test_a_capture_that_fails_is_logged_once_and_not_tried_again(
    pair: Callable[..., tuple[Llava, Llava, RecordingCapture]],
    images: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    computed, replayed, capture = pair()

    def fail(self: RecordingCapture, compute: Callable[[], None]) -> Callable[[], None]:
        compute()
        raise RuntimeError("CUDA error: operation not permitted\nMore lines.")

    monkeypatch.setattr(RecordingCapture, "__call__", fail)
    requests = questions(images, 6)
    expected = [computed.ask(**request).token_ids for request in requests]
    with caplog.at_level(logging.WARNING, "llava_tools"):
        assert [replayed.ask(**request).token_ids for request in requests] == expected
    assert [record.getMessage() for record in caplog.records] == [
        "Answers are computed without CUDA graphs, which is slower: capturing failed: "
        "CUDA error: operation not permitted"
    ]
    assert capture.replays == 0


def test_a_model_that_waits_for_the_device_is_not_captured(
    pair: Callable[..., tuple[Llava, Llava, RecordingCapture]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    computed, replayed, capture = pair()
    expected = computed.ask("Who?", max_tokens=6).token_ids
    forward = Decoder.forward

    def waiting(self: Decoder, embeddings: Tensor, step: Any) -> Tensor:
        return forward(self, embeddings, step) if step.positions.max() < 1 << 20 else embeddings

    monkeypatch.setattr(Decoder, "forward", waiting)
    with caplog.at_level(logging.WARNING, "llava_tools"):
        assert replayed.ask("Who?", max_tokens=6).token_ids == expected
    (record,) = caplog.records
    assert "without CUDA graphs" in record.getMessage()
    assert "_local_scalar_dense.default waits for its result" in record.getMessage()
    assert capture.captures == 0


def test_an_illegal_access_in_a_capture_is_not_hidden(
    pair: Callable[..., tuple[Llava, Llava, RecordingCapture]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, replayed, _ = pair()

    def fail(self: RecordingCapture, compute: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(RecordingCapture, "__call__", fail)
    with pytest.raises(Exception, match="Restart the process"):
        replayed.ask("Who?", max_tokens=6)


def test_layers_that_wait_inside_their_operations_are_not_captured(
    pair: Callable[..., tuple[Llava, Llava, RecordingCapture]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, replayed, _ = pair()
    assert graphs_of(replayed) is not None
    monkeypatch.setattr(decode_graphs, "_WAITING", {nn.Embedding.__name__, "DecoderLayer"})
    _, waiting, _ = pair()
    assert graphs_of(waiting) is None


def test_without_a_kernel_that_reads_blocks_nothing_is_captured(
    pair: Callable[..., tuple[Llava, Llava, RecordingCapture]],
) -> None:
    computed, _, _ = pair()
    assert graphs_of(computed) is None
