"""Makes the catalogue find the small benchmarks of `made_tasks`."""

from __future__ import annotations

import pytest

from llava_tools.evaluation import catalog
from tests.evaluation.made_tasks import JudgedTask, NumberTask, ServedTask


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put three small benchmarks in place of all others."""
    monkeypatch.setattr(catalog, "TASKS", (ServedTask(), NumberTask(), JudgedTask()))
