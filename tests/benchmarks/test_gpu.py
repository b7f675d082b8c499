"""`benchmarks/gpu.py`: figures computed from measurements; nothing is timed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.gpu import Memory, Speed, goals, table
from llava_tools.engine.bandwidth import weight_bytes
from llava_tools.engine.device import free_bytes
from llava_tools.engine.linear import Float16Linear, is_usable, join

BANDWIDTH = 2e12
SPEED = Speed(decode=120.0, one_stream=100.0, many_streams=750.0, new_image=0.2, follow_up=0.01)
MEMORY = Memory(
    read_per_token=15e9, held=40_000_000_000, peak=42_000_000_000, four_bit=7_500_000_000
)


def test_goals_follow_from_measurements() -> None:
    results: dict[str, Any] = {
        goal.name: (goal.figure, goal.met) for goal in goals(BANDWIDTH, SPEED, MEMORY)
    }
    assert results == {
        "decode_to_bandwidth": (pytest.approx(0.9), True),
        "streams_to_one": (pytest.approx(7.5), False),
        "follow_up_to_new": (pytest.approx(0.05), True),
        "peak_to_weights_and_kv": (pytest.approx(1.05), True),
        "four_bit_gb": (pytest.approx(7.5), True),
    }


def test_the_table_shows_met_goals_and_why_a_figure_is_missing() -> None:
    memory = replace(MEMORY, peak=None, four_bit=None, refusal="needs a CUDA GPU")
    lines = table(goals(BANDWIDTH, SPEED, memory), small=False).splitlines()
    assert lines[1].split() == ["decode_to_bandwidth", "0.900", ">=", "0.7", "met"]
    assert lines[2].endswith("missed")
    assert lines[4].endswith("-    <=   1.1  needs CUDA or Linux")
    assert lines[5].endswith("needs a CUDA GPU")
    assert not any("Scaled down" in line for line in lines)


def test_a_small_geometry_meets_no_goals() -> None:
    text = table(goals(BANDWIDTH, SPEED, MEMORY), small=True)
    assert "Scaled down: the goals are for a 7B on a GPU" in text
    assert "met" not in text
    assert "missed" not in text


def test_weight_bytes_count_packed_layers() -> None:
    plain = nn.Linear(32, 16)
    assert weight_bytes(plain) == 4 * (32 * 16 + 16)
    packed = join([nn.Linear(32, 16, bias=False).half().float()])
    size = 2 if is_usable(Float16Linear) else 4
    assert weight_bytes(nn.Sequential(packed)) == size * 32 * 16
    assert weight_bytes(plain, packed) == weight_bytes(plain) + weight_bytes(packed)


def test_a_memory_limit_of_the_process_reduces_free_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = {"mem_get_info": (70, 100), "memory_reserved": 10}
    for name, value in limits.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    free = {}
    for share in (1.0, 0.3, 0.05):
        monkeypatch.setattr(
            torch.cuda, "get_per_process_memory_fraction", lambda device, share=share: share
        )
        free[share] = free_bytes(torch.device("cuda", 0))
    assert free == {1.0: 70, 0.3: 20, 0.05: 0}
