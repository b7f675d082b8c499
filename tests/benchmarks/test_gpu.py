"""`benchmarks/gpu.py`: what follows from what was measured; no clock decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.gpu import Measured, goals, held, table
from llava_tools.engine.cpu.linear import available, joined
from llava_tools.engine.device import free_bytes

SEEN = Measured(
    ceiling=2e12,
    read=15e9,
    rate=120.0,
    one=100.0,
    many=900.0,
    new=0.2,
    follow_up=0.01,
    held=40_000_000_000,
    peak=42_000_000_000,
    four_bit=7_500_000_000,
)


def test_goals_follow_from_what_was_measured() -> None:
    found: dict[str, Any] = {goal.name: (goal.figure, goal.reached) for goal in goals(SEEN)}
    assert found == {
        "decode_to_bandwidth": (pytest.approx(0.9), True),
        "streams_to_one": (pytest.approx(9.0), False),
        "follow_up_to_new": (pytest.approx(0.05), True),
        "peak_to_weights_and_kv": (pytest.approx(1.05), True),
        "four_bit_gb": (pytest.approx(7.5), True),
    }


def test_the_table_says_what_was_met_and_why_a_figure_is_missing() -> None:
    found = goals(replace(SEEN, peak=None, four_bit=None, refusal="needs a CUDA GPU"))
    lines = table(found, small=False).splitlines()
    assert lines[1].split() == ["decode_to_bandwidth", "0.900", ">=", "0.8", "met"]
    assert lines[2].endswith("missed")
    assert lines[4].endswith("-    <=   1.1  needs CUDA or Linux")
    assert lines[5].endswith("needs a CUDA GPU")
    assert not any("Scaled down" in line for line in lines)


def test_a_small_geometry_meets_no_goals() -> None:
    told = table(goals(SEEN), small=True)
    assert "Scaled down: not a 7B on a GPU" in told
    assert "met" not in told
    assert "missed" not in told


def test_weights_are_counted_packed_or_not() -> None:
    plain = nn.Linear(32, 16)
    assert held(plain) == 4 * (32 * 16 + 16)
    packed = joined([nn.Linear(32, 16, bias=False).half()])
    assert held(nn.Sequential(packed)) == 2 * 32 * 16
    assert available() == (not isinstance(packed, nn.Linear))
    assert held(plain, packed) == held(plain) + held(packed)


def test_a_limit_of_the_process_counts_as_memory_that_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = {"mem_get_info": (70, 100), "memory_reserved": 10}
    for name, value in limits.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    left = {}
    for share in (1.0, 0.3, 0.05):
        monkeypatch.setattr(
            torch.cuda, "get_per_process_memory_fraction", lambda device, share=share: share
        )
        left[share] = free_bytes(torch.device("cuda", 0))
    assert left == {1.0: 70, 0.3: 20, 0.05: 0}
