"""Which models fit which machines."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from llava_tools import Llava, info
from llava_tools.info import Fit, report, sizes
from llava_tools.options import CONTEXT_LENGTHS


def _fits(
    monkeypatch: pytest.MonkeyPatch, device_type: str, free: float
) -> dict[tuple[str, str], Fit]:
    monkeypatch.setattr(info, "_device", lambda: (device_type, "a machine", int(free * 1e9)))
    return {(fit.model, fit.precision): fit for fit in report().fits}


def test_models_that_fit_a_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = _fits(monkeypatch, "cpu", 8)
    assert fits["tiny", "float32"].fits
    assert fits["7b", "4bit"].why_not == "needs a CUDA GPU"
    assert fits["7b", "16 bit"].why_not == "8.3 GB short"


def test_models_that_fit_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    small = _fits(monkeypatch, "cuda", 8)
    assert [
        precision for (model, precision), fit in small.items() if model == "7b" and fit.fits
    ] == ["4bit"]
    large = _fits(monkeypatch, "cuda", 80)
    assert all(fit.fits for fit in large.values())


def test_sizes_are_as_published() -> None:
    assert sizes()["7b"].bytes_needed("16 bit") == pytest.approx(14.126e9 + 524_288 * 4096)


def test_size_of_the_embedded_model_equals_its_configuration() -> None:
    config = json.loads((files("llava_tools") / "tiny" / "config.json").read_text())
    text = config["text_config"]
    assert CONTEXT_LENGTHS["tiny"] == text["max_position_embeddings"]
    kv = 2 * 2 * text["num_hidden_layers"] * text["hidden_size"]
    assert sizes()["tiny"].kv_bytes == kv
    assert 5e6 < sizes()["tiny"].parameters < 12.5e6


def test_loaded_engines_show_their_device_and_dtype() -> None:
    with Llava(device="cpu") as model:
        model.warm_up()
        assert "llava-tools/tiny (cpu float32)" in report().loaded
