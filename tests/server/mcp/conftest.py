from __future__ import annotations

from typing import Any

import pytest

# `notebooks` brings mcp 1, for its adapters; the server needs 2, the first with this module.
pytest.importorskip("mcp_types")


@pytest.fixture(params=["legacy", "auto"])
def mode(request: pytest.FixtureRequest) -> Any:
    """How a client speaks: with sessions, or the newest version without."""
    return request.param
