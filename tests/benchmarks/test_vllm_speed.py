"""`benchmarks/vllm_speed.py`: requests, clocks and results, with scripted backends."""

from __future__ import annotations

import os

import pytest

from benchmarks.vllm_speed import TOKENS, ProcessorTime, measure, summarize
from llava_tools.bench.contenders import BackendContender
from llava_tools.testing import ScriptedBackend


def test_both_contenders_get_the_same_requests() -> None:
    first, second = ScriptedBackend(["a star"]), ScriptedBackend(["a star"])
    contenders = {
        "first": (BackendContender("first", first), ProcessorTime()),
        "second": (BackendContender("second", second), ProcessorTime()),
    }
    result = measure(contenders, rounds=2, at_once=3)
    assert sorted(map(repr, first.requests)) == sorted(map(repr, second.requests))
    assert len(first.requests) == 3 * (3 + 3)
    for seconds in result.values():
        assert list(seconds) == ["new", "follow_up", "decode", "at_once"]
        assert min(seconds.values()) >= 0


def test_decoding_speed_excludes_the_first_token() -> None:
    result = summarize(
        {"new": 2.0, "follow_up": 0.5, "decode": 0.5 + (TOKENS - 1) / 20, "at_once": 9}
    )
    expected = {"new_s": 2.0, "follow_up_s": 0.5, "tokens_per_s": 20.0, "at_once_s": 9}
    assert result == pytest.approx(expected)


def test_processor_time_of_another_process() -> None:
    assert ProcessorTime(os.getpid())() == pytest.approx(ProcessorTime()(), rel=0.5, abs=2.0)
