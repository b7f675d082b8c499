"""Which models fit which machines, and what a model is."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from llava_tools import Llava, info
from llava_tools.engine.loading.inspection import Inspection, inspect
from llava_tools.errors import ModelNotFoundError
from llava_tools.info import Fit, describe, report, sizes
from llava_tools.options import CONTEXT_LENGTHS, DEFAULT_CONTEXT_LENGTH, TINY_NOTICE
from tests import published_configs as published
from tests.fake_hub import FakeHub


def _fits(
    monkeypatch: pytest.MonkeyPatch, device_type: str, free: float
) -> dict[tuple[str, str], Fit]:
    monkeypatch.setattr(info, "_device", lambda: (device_type, "a machine", int(free * 1e9)))
    return {(fit.model, fit.precision): fit for fit in report().fits}


@pytest.mark.parametrize(
    ("capability", "why_not"),
    [("AVX512", ""), ("AVX2", "needs a CUDA GPU, or a CPU with AVX512")],
)
def test_models_that_fit_a_laptop(
    capability: str, why_not: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    fits = _fits(monkeypatch, "cpu", 8)
    assert fits["tiny", "float32"].fits
    assert fits["7b", "4bit"].why_not == why_not
    assert fits["7b", "8bit"].why_not == "1.8 GB short"
    assert fits["7b", "16 bit"].why_not == "8.3 GB short"
    assert _fits(monkeypatch, "mps", 8)["7b", "4bit"].why_not == "needs a CUDA GPU"


def test_models_that_fit_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    small = _fits(monkeypatch, "cuda", 8)
    assert [
        precision for (model, precision), fit in small.items() if model == "7b" and fit.fits
    ] == ["4bit"]
    large = _fits(monkeypatch, "cuda", 80)
    assert all(fit.fits for fit in large.values())


def test_sizes_are_as_published() -> None:
    assert sizes()["7b"].bytes_needed("16 bit") == 2 * 7_063_427_072 + 524_288 * 4096


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("0.5b", published.INTERLEAVE_05B),
        ("7b", published.LLAVA_7B),
        ("13b", published.LLAVA_13B),
    ],
)
def test_sizes_are_those_of_the_published_configurations(
    name: str, config: Any, tmp_path: Path
) -> None:
    model = _inspect(tmp_path, config)
    size = sizes()[name]
    assert model.text
    assert size.parameters == model.parameters
    assert size.linear_parameters == model.text.linear_parameters
    assert size.kv_bytes == 2 * model.text.kv_values
    assert size.context_length == min(model.text.context_length, DEFAULT_CONTEXT_LENGTH)


def _inspect(folder: Path, config: Any) -> Inspection:
    (folder / "config.json").write_text(json.dumps(config))
    return inspect(folder, {"config.json": 1, "model.safetensors": 1})


def test_size_of_the_embedded_model_equals_its_configuration() -> None:
    config = json.loads((files("llava_tools") / "tiny" / "config.json").read_text())
    text = config["text_config"]
    assert CONTEXT_LENGTHS["tiny"] == text["max_position_embeddings"]
    kv = 2 * 2 * text["num_hidden_layers"] * text["num_key_value_heads"] * text["head_dim"]
    assert sizes()["tiny"].kv_bytes == kv
    assert 5e6 < sizes()["tiny"].parameters < 12.5e6


def test_loaded_engines_show_their_device_and_dtype() -> None:
    with Llava(device="cpu") as model:
        model.warm_up()
        assert "llava-tools/tiny (cpu float32)" in report().loaded


@pytest.fixture
def interleave(checkpoint: Path, tmp_path: Path) -> Path:
    """A folder with the configuration of the 0.5b, and small weights that are not read."""
    folder = tmp_path / "interleave"
    shutil.copytree(checkpoint, folder)
    (folder / "config.json").write_text(json.dumps(published.INTERLEAVE_05B))
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: some-licence\n---\n")
    return folder


def test_a_model_is_described_without_its_weights(
    interleave: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(info, "_device", lambda: ("cuda", "a GPU", int(3e9)))
    (interleave / "model.safetensors").write_bytes(b"no weights")
    model = describe(str(interleave))
    assert model.refusal is None
    assert model.text
    assert model.vision
    assert (model.text.model_type, model.vision.model_type) == ("qwen2", "siglip_vision_model")
    assert (model.vision.image_size, model.vision.image_tokens) == (384, 729)
    assert (model.text.context_length, model.default_context_length) == (32768, 8192)
    assert model.parameters == 864_031_264
    assert (model.disk_bytes, model.downloaded) == (10, True)
    assert model.licence == "some-licence"
    assert model.conversation == "vicuna_v1"  # the tokenizer is like Llama's
    assert {fit.precision: fit.fits for fit in model.fits} == {
        "float32": False,
        "16 bit": True,
        "8bit": True,
        "4bit": True,
    }


def test_short_names_have_their_licence_and_notice() -> None:
    model = describe("tiny")
    assert (model.model, model.licence) == ("tiny", "Apache-2.0")
    assert model.notice == TINY_NOTICE
    assert model.fits[0].fits


def test_a_refused_model_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(published.NEXT))
    model = describe(str(tmp_path))
    message = f"{str(tmp_path)!r} is a LLaVA-NeXT model, not a LLaVA 1.5 ('llava')."
    assert model.refusal
    assert model.refusal.message == message
    assert "vLLM" in model.refusal.hint
    assert (model.conversation, model.fits) == (None, ())


def test_quantized_files_fit_as_they_are(interleave: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {**published.INTERLEAVE_05B, "quantization_config": published.BNB_4BIT}
    (interleave / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(info, "_device", lambda: ("cuda", "a GPU", int(3e9)))
    (fit,) = describe(str(interleave)).fits
    weights = (interleave / "model.safetensors").stat().st_size
    assert (fit.precision, fit.fits) == ("4bit", True)
    assert fit.bytes_needed == weights + 98_304 * 8192
    monkeypatch.setattr(info, "_device", lambda: ("cpu", "a CPU", int(3e9)))
    assert "bitsandbytes" in str(describe(str(interleave)).refusal)


def test_an_unknown_conversation_is_a_refusal(interleave: Path) -> None:
    template = {"chat_template": "{{ messages[0]['content'] }} <start_of_turn>"}
    (interleave / "chat_template.json").write_text(json.dumps(template))
    model = describe(str(interleave))
    assert model.refusal
    assert "conversation format" in model.refusal.message
    assert "conversation=" in model.refusal.hint


def test_an_adapter_is_described_as_its_base(interleave: Path, tmp_path: Path) -> None:
    adapter = {**published.LORA, "base_model_name_or_path": str(interleave)}
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    (folder / "adapter_model.safetensors").write_bytes(b"12345")
    model = describe(str(folder))
    assert (model.model, model.adapter_base) == (str(folder), str(interleave))
    assert model.text
    assert model.text.model_type == "qwen2"
    assert model.disk_bytes == 5 + (interleave / "model.safetensors").stat().st_size


def test_an_adapter_of_an_adapter_is_refused(interleave: Path, tmp_path: Path) -> None:
    for name, base in (("first", str(interleave)), ("second", str(tmp_path / "first"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(
            json.dumps({**published.LORA, "base_model_name_or_path": base})
        )
        (tmp_path / name / "adapter_model.safetensors").write_bytes(b"12345")
    model = describe(str(tmp_path / "second"))
    assert "is an adapter itself" in str(model.refusal)


def test_a_gguf_file_is_described_as_one(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    model = describe(str(tmp_path / "model.gguf"))
    assert "is GGUF" in str(model.refusal)
    assert model.disk_bytes == 4


def test_a_name_that_nothing_has_is_an_error() -> None:
    with pytest.raises(ModelNotFoundError, match="There is no model 'nothing'"):
        describe("nothing")


def test_a_model_on_the_hub_is_described_without_a_download_of_its_weights(
    interleave: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {path.name: path.read_bytes() for path in interleave.iterdir()}
    with FakeHub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        hub.publish("someone/interleave", contents)
        model = describe("someone/interleave")
        assert "model.safetensors" not in hub.downloads()
    assert model.refusal is None
    assert (model.model, model.downloaded) == ("someone/interleave", False)
    assert model.disk_bytes == len(contents["model.safetensors"])
    assert (model.parameters, model.licence) == (864_031_264, "some-licence")
