"""A scripted engine and an image for the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from llava_tools import model_cache
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ScriptedBackend:
    scripted = ScriptedBackend(["It is red."])

    def load(options: EngineOptions) -> ScriptedBackend:
        return scripted

    monkeypatch.setattr(model_cache, "engines", model_cache.ModelCache(load))
    return scripted


@pytest.fixture
def image(tmp_path: Path) -> str:
    Image.new("RGB", (8, 4), "red").save(tmp_path / "red.png")
    return str(tmp_path / "red.png")
