"""Decoding as a share of the memory's bandwidth: the bytes that a token takes, and the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from llava_tools import Llava
from llava_tools.bench import bandwidth
from llava_tools.bench.contenders import BackendContender
from llava_tools.bench.workload import Measurements, Workload, long_request
from llava_tools.cli.main import main
from llava_tools.engine import bandwidth as engine_bandwidth
from llava_tools.engine.bandwidth import DecodeBandwidth, bytes_per_token
from llava_tools.engine.engine import LlavaEngine
from llava_tools.testing import ScriptedBackend

WORKLOAD = Workload(rounds=1, at_once=1, tokens=4, seed=1)
FOUND = DecodeBandwidth(15_000_000_000, 3.0e12, 4.0e12)


def engine_of(model: Llava) -> LlavaEngine:
    assert isinstance(model.backend, LlavaEngine)
    return model.backend


def test_a_token_reads_the_layers_the_head_and_the_kv(fresh: Callable[..., Llava]) -> None:
    """A language model of width 64 with 2 layers, a gated width of 160 and 2 heads, in float32."""
    engine = engine_of(fresh())
    embedding: Any = engine.loaded.model.get_input_embeddings()
    vocabulary = embedding.num_embeddings
    layer = 4 * 64 * 64 + 3 * 64 * 160 + 2 * 64
    weights = 4 * (2 * layer + 64 + vocabulary * 64)
    assert bytes_per_token(engine, 0) == weights
    assert bytes_per_token(engine, 100) == weights + 100 * 2 * 2 * 64 * 4


def test_an_embedding_is_read_only_as_the_heads_weights(
    fresh: Callable[..., Llava], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(fresh())
    embedding: Any = engine.loaded.model.get_input_embeddings()
    head = nn.Linear(64, embedding.num_embeddings, bias=False)
    monkeypatch.setattr(engine, "decoder", nn.ModuleList([embedding, head]))
    assert bytes_per_token(engine, 0) == embedding.weight.nbytes
    head.weight = embedding.weight
    assert bytes_per_token(engine, 0) == embedding.weight.nbytes


def test_the_first_engine_of_this_process_is_compared(
    fresh: Callable[..., Llava], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_bandwidth, "measure_memory", lambda device: 2e9)
    engine = engine_of(fresh())
    contenders = [
        BackendContender("server", ScriptedBackend(["a b c"])),
        BackendContender("engine", engine),
    ]
    measured = [Measurements(item.name, 0.1, 0.1, 0.1, 500.0) for item in contenders]
    found = bandwidth.measure(contenders, measured, WORKLOAD)
    assert found is not None
    context = engine.count_tokens(long_request(WORKLOAD)) + 2
    assert found.bytes_per_token == bytes_per_token(engine, context)
    assert found.share == found.bytes_per_token * 500 / 2e9
    assert bandwidth.measure(contenders[:1], measured[:1], WORKLOAD) is None
    no_rate = [Measurements("engine", 0.1, 0.1, 0.1)]
    assert bandwidth.measure(contenders[1:], no_rate, WORKLOAD) is None


def test_the_report_names_both_bandwidths() -> None:
    assert bandwidth.line(FOUND) == (
        "Decoding reads 15 GB a token, 3,000 GB/s: 75% of the memory's bandwidth in this run "
        "(4,000 GB/s)."
    )
    assert bandwidth.as_dict(FOUND)["share"] == 0.75


def test_memory_is_faster_than_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_bandwidth, "_NUMBERS", {"cpu": 1 << 20})
    assert engine_bandwidth.measure_memory(torch.device("cpu")) > 1e8


@pytest.mark.slow
def test_the_command_prints_the_share(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_bandwidth, "measure_memory", lambda device: 1e10)
    assert main(["bench", "--rounds", "1", "--tokens", "4", "--no-generate", "--at-once", "1"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("Decoding reads 0.0")
    assert 0 < json.loads(last)["decode_bandwidth"]["share"] < 10
