"""`benchmarks/vllm_speed.py`: what is asked of whom and what follows; no server, no clock."""

from __future__ import annotations

import os

import pytest

from benchmarks.vllm_speed import TOKENS, Spent, figures, measure
from llava_tools.bench import Behind
from llava_tools.testing import ScriptedBackend


def test_both_are_asked_the_same_and_what_they_spend_is_counted() -> None:
    one, other = ScriptedBackend(["a star"]), ScriptedBackend(["a star"])
    who = {"one": (Behind("one", one), Spent()), "other": (Behind("other", other), Spent())}
    seen = measure(who, rounds=2, at_once=3)
    assert sorted(map(repr, one.requests)) == sorted(map(repr, other.requests))
    assert len(one.requests) == 3 * (3 + 3)
    for seconds in seen.values():
        assert list(seconds) == ["new", "follow_up", "decode", "at_once"]
        assert min(seconds.values()) >= 0


def test_decoding_is_what_more_tokens_took() -> None:
    found = figures({"new": 2.0, "follow_up": 0.5, "decode": 0.5 + (TOKENS - 1) / 20, "at_once": 9})
    expected = {"new_s": 2.0, "follow_up_s": 0.5, "tokens_per_s": 20.0, "at_once_s": 9}
    assert found == pytest.approx(expected)


def test_another_process_is_counted_too() -> None:
    assert Spent(os.getpid())() == pytest.approx(Spent()(), rel=0.5, abs=2.0)
