"""Tests of what LlamaIndex itself does only in newer releases."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from packaging.version import Version


def since(release: str, reason: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test with releases of llama-index-core before this one."""
    older = Version(version("llama-index-core")) < Version(release)
    return pytest.mark.skipif(older, reason=f"llama-index-core before {release}: {reason}")
