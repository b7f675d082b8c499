"""Only complete LLaVA checkpoints load; for all others an error names the cause."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

from llava_tools.engine import load_engine
from llava_tools.engine.loading.checkpoint import load
from llava_tools.engine.quantized_linear import check_quantization
from llava_tools.errors import ModelError, ModelNotFoundError, RequestError
from llava_tools.options import EngineOptions, Quantization

Weights = dict[str, object]


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def _edit(folder: Path, change: Callable[[Weights], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _drop(part: str) -> Callable[[Weights], object]:
    return lambda weights: [weights.pop(key) for key in list(weights) if part in key]


@pytest.mark.parametrize("part", ["vision_tower", "multi_modal_projector", "layers.1.mlp"])
def test_missing_weights_are_an_error(copy: Path, part: str) -> None:
    _edit(copy, _drop(part))
    with pytest.raises(ModelError, match=f"missing .*{part}"):
        load(EngineOptions(str(copy)))


def test_unexpected_weights_are_an_error(copy: Path) -> None:
    import torch

    _edit(copy, lambda weights: weights.update({"surprise.weight": torch.zeros(2)}))
    with pytest.raises(ModelError, match=r"1 unexpected \(such as surprise.weight\)"):
        load(EngineOptions(str(copy)))


def test_weights_of_another_shape_are_an_error(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["intermediate_size"] += 8
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="wrong shape"):
        load(EngineOptions(str(copy)))


def test_the_layout_of_the_released_checkpoints_loads(copy: Path) -> None:
    """`language_model.model.*`, `language_model.lm_head`, `vision_tower.vision_model.*`."""

    def rename(weights: Weights) -> None:
        for key in list(weights):
            weights[key.replace("vision_tower.", "vision_tower.vision_model.")] = weights.pop(key)
        assert "language_model.lm_head.weight" in weights
        assert "language_model.model.embed_tokens.weight" in weights

    _edit(copy, rename)
    assert load(EngineOptions(str(copy))).image_tokens == 16


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tny", "Did you mean 'tiny'"),
        ("7bb", "Did you mean '7b'"),
        ("./nowhere", "There is no model './nowhere'"),
        ("nobody/nothing", "is not in the local cache, and local_files_only=True forbids a"),
    ],
)
def test_an_unknown_model_is_an_error(name: str, message: str) -> None:
    with pytest.raises(ModelNotFoundError, match=message) as caught:
        load_engine(EngineOptions(name, local_files_only=True))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="is empty"):
        load(EngineOptions(str(tmp_path)))


def test_a_checkpoint_of_another_model_is_an_error(tmp_path: Path) -> None:
    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is a 'llama' model, not a LLaVA"):
        load(EngineOptions(str(tmp_path)))


@pytest.mark.parametrize("kind", ["4bit", "8bit"])
def test_quantization_on_a_processor_without_its_kernels_is_an_error(
    checkpoint: Path, kind: Quantization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    check_quantization.cache_clear()
    with pytest.raises(ModelError, match=f"quantization='{kind}' on a CPU needs AVX512"):
        load(EngineOptions(str(checkpoint), device="cpu", quantization=kind))


@pytest.mark.parametrize("kind", ["4bit", "8bit"])
def test_quantization_on_mps_is_an_error(
    checkpoint: Path, kind: Quantization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ModelError, match=f"quantization='{kind}' needs a CUDA GPU or a CPU"):
        load(EngineOptions(str(checkpoint), device="mps", quantization=kind))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "device='gpu'"),
        ({"dtype": "fp16"}, "dtype='fp16'"),
        ({"quantization": "2bit"}, "quantization='2bit'"),
        ({"context_length": 3}, "context_length=3"),
        ({"max_concurrent_requests": 0}, "max_concurrent_requests=0"),
        ({"model": ""}, "model=''"),
        ({"base_url": "localhost"}, "base_url='localhost'"),
        ({"base_url": "http://x/v1", "dtype": "float16"}, "dtype='float16' does not go with"),
    ],
)
def test_invalid_options_are_refused_before_anything_loads(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        EngineOptions(**options)


def test_a_context_length_beyond_the_model_is_an_error(checkpoint: Path) -> None:
    with pytest.raises(RequestError, match="built for"):
        load_engine(EngineOptions(str(checkpoint), context_length=4096))
