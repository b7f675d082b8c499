"""Requests, progress and failures of a warmup."""

from __future__ import annotations

import pytest

from llava_tools import Llava
from llava_tools.errors import EngineClosedError
from llava_tools.testing import ScriptedBackend
from llava_tools.warmup import BATCH_SIZE


def test_requests_are_about_one_image() -> None:
    backend = ScriptedBackend()
    Llava(backend=backend).warm_up()
    assert len(backend.requests) == 2 + BATCH_SIZE
    messages = [request.messages[0] for request in backend.requests]
    assert all(len(message.images) == 1 for message in messages)
    assert len({message.images[0].handle for message in messages}) == 1
    assert len({message.text for message in messages}) == 2 + BATCH_SIZE
    assert backend.closed_early == 0


def test_progress_increases_and_ends_ready() -> None:
    reports: list[tuple[str, float]] = []
    Llava(backend=ScriptedBackend()).warm_up(lambda *report: reports.append(report))
    fractions = [fraction for _, fraction in reports]
    assert reports[0] == ("loading the model", 0.0)
    assert reports[-1] == ("ready", 1.0)
    assert fractions == sorted(set(fractions))


def test_failure_raises() -> None:
    backend = ScriptedBackend()
    backend.close()
    steps: list[str] = []
    with pytest.raises(EngineClosedError):
        Llava(backend=backend).warm_up(lambda step, fraction: steps.append(step))
    assert "ready" not in steps
