"""The verdict of the soak: what rises or stays in use is a fault, what varies is none."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak.outcomes import Outcomes
from benchmarks.soak.plot import plot
from benchmarks.soak.samples import read_samples
from benchmarks.soak.verdict import MAX_MB_PER_HOUR, SETTLING, verdict

ROUNDS = 120
SECONDS = 7200 / ROUNDS


def make_samples(**rises: float) -> list[dict[str, Any]]:
    """Return two hours of idle samples that vary; `rises` are by how much fields rise an hour."""
    rng = random.Random(0)
    samples = []
    for number in range(ROUNDS):
        seconds = number * SECONDS
        filled = min(seconds / (SETTLING * 7200), 1)
        process: dict[str, Any] = {
            "rss_mb": 900 + 300 * filled + rng.uniform(-15, 15),
            "uss_mb": 800 + 300 * filled,
            "threads": 30 + (rng.randrange(2) if number % 6 == 0 else int(number * rng.random())),
            "python_threads": 6 + rng.randrange(2),
            "descriptors": 20 + rng.randrange(2),
            "children": 1,
            "kv_blocks_used": 0,
            "kv_blocks_cached": 400,
            "cached_images": 100,
            "work": {"chat": number},
            "expected_errors": {"timeout": number},
        }
        for name, rise in rises.items():
            process[name] += int(rise * seconds / 3600)
        samples.append(
            {
                "kind": "sample",
                "seconds": seconds,
                "idle": True,
                "rested": number % 6 == 0,
                "processes": {"main": process},
            }
        )
    return samples


def test_flat_samples_pass_though_memory_rose_at_first_and_numbers_vary() -> None:
    result = verdict(make_samples())
    assert (result["passed"], result["faults"], result["rounds"]) == (True, [], ROUNDS)
    assert abs(result["processes"]["main"]["rss_mb_per_hour"]) < MAX_MB_PER_HOUR / 2


@pytest.mark.parametrize(
    ("rises", "fault"),
    [
        ({"rss_mb": 2 * MAX_MB_PER_HOUR}, "main: memory rises by"),
        ({"threads": 2}, "main: threads rise from"),
        ({"python_threads": 1}, "main: python_threads rise from"),
        ({"descriptors": 2}, "main: descriptors rise from"),
        ({"children": 2}, "main: children rise from"),
        ({"kv_blocks_used": 1}, "main: KV blocks are in use after 60 of 120 rounds"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_leak_is_a_fault(rises: dict[str, float], fault: str) -> None:
    result = verdict(make_samples(**rises))
    assert not result["passed"]
    assert [line[: len(fault)] for line in result["faults"]] == [fault]


def test_findings_are_faults() -> None:
    finding = {"kind": "finding", "seconds": 1.0, "text": "chat: 'red' instead of 'blue'\nmore"}
    result = verdict([finding, *make_samples()])
    assert (result["passed"], result["faults"]) == (False, ["chat: 'red' instead of 'blue'"])


def test_a_run_without_rounds_has_not_passed() -> None:
    assert verdict([])["passed"] is False


def test_what_was_written_before_a_kill_is_read_and_drawn(tmp_path: Path) -> None:
    lines = [json.dumps(line) for line in make_samples()]
    (tmp_path / "samples.jsonl").write_text("\n".join([*lines, lines[0][:20]]))
    samples = read_samples(tmp_path / "samples.jsonl")
    assert len(samples) == ROUNDS
    plot(samples, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_answers_that_change_and_errors_that_are_missing_are_findings() -> None:
    findings: list[str] = []
    outcomes = Outcomes(findings.append)
    for value in ("red", "red", "blue"):
        outcomes.same("colour", value)
    with outcomes.error(ValueError, "bad value"):
        raise ValueError
    with outcomes.error(ValueError, "bad value"):
        pass
    assert findings == ["colour: 'blue' instead of 'red'", "bad value: no ValueError"]
    counts = outcomes.counts()
    assert (counts["checked"], counts["findings"]) == (3, 2)
    assert counts["expected_errors"] == {"bad value": 1}
