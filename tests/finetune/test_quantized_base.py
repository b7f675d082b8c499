"""QLoRA: LoRA on 4-bit weights, whose updates are added to the original weights."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from llava_tools import Llava
from llava_tools.engine.loading.checkpoint import load
from llava_tools.errors import MissingExtraError, ModelError, RequestError
from llava_tools.finetune import tune
from llava_tools.finetune.merge import check_names
from llava_tools.finetune.quantized_base import quantization_config
from llava_tools.options import EngineOptions
from tests.finetune.test_main import base, losses, options

__all__ = ["base"]

CPU = torch.device("cpu")


def run(base: Path, out: Path, method: str, **changes: Any) -> dict[str, torch.Tensor]:
    settings: dict[str, Any] = {"epochs": 10, "dropout": 0.0, "seed": 3} | changes
    tune(options(base, out, method=method, **settings))
    return load_file(out / "model.safetensors")


def test_the_language_models_layers_are_4bit_and_the_rest_is_whole(base: Path) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    settings = EngineOptions(model=str(base / "base"), device="cpu", dtype="float32")
    model = load(settings, quantization_config(CPU, torch.float32)).model
    kinds = {
        name: isinstance(module, bitsandbytes.nn.Linear4bit)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    assert {name for name, is_4bit in kinds.items() if is_4bit} == {
        name for name in kinds if "language_model" in name
    }
    state = model.model.language_model.layers[0].mlp.up_proj.weight.quant_state
    assert (state.quant_type, state.nested, state.dtype) == ("nf4", True, torch.float32)


def write_rounded(base: Path, folder: Path) -> None:
    """Write the checkpoint with the values of its 4-bit weights."""
    from bitsandbytes.functional import dequantize_4bit

    settings = EngineOptions(model=str(base / "base"), device="cpu", dtype="float32")
    model = load(settings, quantization_config(CPU, torch.float32)).model
    folder.mkdir()
    for file in (base / "base").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    for name, parameter in model.model.language_model.named_parameters():
        if parameter.dtype == torch.uint8:
            rounded = dequantize_4bit(parameter.data, parameter.quant_state)
            tensors[f"language_model.model.{name}"] = rounded
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.slow
def test_losses_are_those_of_lora_on_the_rounded_weights(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    write_rounded(base, tmp_path / "model")
    runs = {}
    for name, method, model in (
        ("lora", "lora", base / "base"),
        ("rounded", "lora", tmp_path / "model"),
        ("qlora", "qlora", base / "base"),
    ):
        settings = options(base, tmp_path / name, method=method, epochs=4, learning_rate=1e-3)
        tune(replace(settings, model=str(model)))
        runs[name] = losses(tmp_path / name)
    assert runs["qlora"] == pytest.approx(runs["rounded"], abs=1e-4)
    assert runs["qlora"] != pytest.approx(runs["lora"], abs=1e-3)
    assert runs["qlora"] == pytest.approx(runs["lora"], rel=0.1)


@pytest.mark.slow
def test_updates_are_added_to_the_original_weights(base: Path, tmp_path: Path) -> None:
    """Training that changes nothing gives back the original weights, not the rounded ones."""
    pytest.importorskip("bitsandbytes")
    original = load_file(base / "base" / "model.safetensors")
    idle = run(base, tmp_path / "idle", "qlora", epochs=1, learning_rate=1e-30)
    name = "language_model.model.layers.0.mlp.up_proj.weight"
    assert torch.equal(idle[name], original[name])
    tuned = run(base, tmp_path / "tuned", "qlora", epochs=2)
    assert torch.linalg.matrix_rank(tuned[name] - original[name], atol=1e-4) == 16
    with Llava(str(tmp_path / "tuned"), device="cpu") as model:
        assert model.ask("What is red?", max_tokens=2).usage.completion_tokens


@pytest.mark.slow
def test_evaluations_and_checkpointing_change_nothing(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    for out, every in (("often", 1), ("once", 100)):
        tune(
            replace(
                options(base, tmp_path / out, method="qlora", epochs=3, held_out=0.2),
                evaluate_every=every,
                gradient_checkpointing=every == 1,
            )
        )
    assert losses(tmp_path / "often") == losses(tmp_path / "once")


def test_without_bitsandbytes_the_extra_is_named(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match="extra 'qlora'"):
        tune(options(base, tmp_path / "out", method="qlora"))


def test_devices_without_4bit_training_are_refused() -> None:
    with pytest.raises(ModelError, match="would be on mps"):
        quantization_config(torch.device("mps"), torch.float32)


def test_4bit_weights_are_not_split(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"shard=True.*without shard"):
        options(base, tmp_path / "out", method="qlora", shard=True)


def test_weights_that_are_stored_quantized_are_refused(tmp_path: Path) -> None:
    key = "language_model.model.layers.0.mlp.up_proj.weight"
    save_file({key: torch.zeros(8, 1, dtype=torch.uint8)}, tmp_path / "model.safetensors")
    updates = {"model.language_model.layers.0.mlp.up_proj.weight": lambda weight: weight}
    with pytest.raises(ModelError, match=r"up_proj.weight is quantized"):
        check_names([tmp_path / "model.safetensors"], updates)
