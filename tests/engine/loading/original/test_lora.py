"""A LoRA of the original code is converted to the model that it makes of its base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from llava_tools.conversion import ConvertOptions, convert
from llava_tools.engine.loading.checkpoint import load
from llava_tools.errors import ModelError, ModelNotFoundError, RequestError
from llava_tools.options import EngineOptions
from tests.original_layout import Original, write_original

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def _llama(original: Original) -> LlamaForCausalLM:
    fields = {k: v for k, v in original.config.items() if not k.startswith("mm_")}
    model = LlamaForCausalLM(LlamaConfig(**fields))
    weights = {k: v for k, v in original.weights.items() if "mm_projector" not in k}
    model.load_state_dict(weights)
    return model


def write_lora(original: Original, folder: Path, base: Path, **settings: Any) -> Path:
    """Write a LoRA as the original code does: PEFT's files, and the projector."""
    torch.manual_seed(4)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS, **settings}
    adapted = get_peft_model(_llama(original), LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    adapted.save_pretrained(folder)
    (folder / "adapter_config.json").write_text(
        json.dumps(
            json.loads((folder / "adapter_config.json").read_text())
            | {"base_model_name_or_path": str(base)}
        )
    )
    trained = {
        f"base_model.model.{name}": tensor + 0.5
        for name, tensor in original.weights.items()
        if "mm_projector" in name
    }
    torch.save(trained, folder / "non_lora_trainables.bin")
    shutil.copy(original.folder / "config.json", folder)
    return folder


@pytest.fixture
def original(tmp_path: Path) -> Original:
    return write_original(tmp_path / "published", model_type="llava_llama")


@pytest.fixture
def lora(original: Original, tmp_path: Path) -> Path:
    return write_lora(original, tmp_path / "lora", original.folder)


def _vicuna(original: Original, folder: Path) -> Path:
    _llama(original).save_pretrained(folder)
    shutil.copy(original.folder / "tokenizer.model", folder)
    return folder


@pytest.mark.parametrize("base", ["llava", "vicuna"])
@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}])
def test_weights_are_those_that_peft_merges(
    original: Original, tmp_path: Path, base: str, settings: dict[str, Any]
) -> None:
    place = original.folder if base == "llava" else _vicuna(original, tmp_path / "vicuna")
    folder = write_lora(original, tmp_path / "lora", place, **settings)
    convert(ConvertOptions(str(folder), tmp_path / "out"))
    found = load_file(tmp_path / "out" / "model.safetensors")
    merged: Any = PeftModel.from_pretrained(_llama(original), str(folder)).merge_and_unload()
    for name, expected in merged.state_dict().items():
        rows = found[f"language_model.{name}"][: expected.shape[0]]
        torch.testing.assert_close(rows, expected, atol=1e-5, rtol=1e-5)
    assert not torch.equal(
        merged.model.layers[0].mlp.up_proj.weight,
        original.weights["model.layers.0.mlp.up_proj.weight"],
    )
    projector = original.weights["model.mm_projector.2.weight"] + 0.5
    assert torch.equal(found["multi_modal_projector.linear_2.weight"], projector)
    assert load(EngineOptions(str(tmp_path / "out"))).image_tokens == 16


def test_the_option_base_replaces_a_path_of_another_machine(
    original: Original, tmp_path: Path
) -> None:
    folder = write_lora(original, tmp_path / "lora", Path("/home/trainer/vicuna"))
    with pytest.raises(ModelNotFoundError, match=r"a LoRA of '/home/trainer/vicuna', .* base="):
        convert(ConvertOptions(str(folder), tmp_path / "out"))
    convert(ConvertOptions(str(folder), tmp_path / "out", base=str(original.folder)))
    assert (tmp_path / "out" / "model.safetensors").is_file()


def _edit(**fields: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_remove("non_lora_trainables.bin"), "has no non_lora_trainables.bin"),
        (_remove("adapter_model.safetensors"), "has no adapter_model.bin"),
        (_remove("adapter_config.json"), "adapter_config.json .* cannot be read"),
        (_remove("config.json"), "needs no conversion"),
        (_write("adapter_config.json", "[]"), "adapter_config.json .* cannot be read"),
        (_write("adapter_config.json", "[" * 100_000), "adapter_config.json .* cannot be read"),
        (_write("config.json", "[" * 100_000), "config.json is damaged"),
        (_edit(lora_alpha=None), "has lora_alpha=None"),
        (_edit(use_dora=True), "use_dora=True.*merge_lora_weights.py"),
        (_edit(base_model_name_or_path=None), "names no base model"),
    ],
)
def test_what_cannot_be_merged_is_refused(
    lora: Path, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    change(lora)
    with pytest.raises(ModelError, match=message):
        convert(ConvertOptions(str(lora), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_lora_of_another_model_is_refused(lora: Path, tmp_path: Path) -> None:
    other = write_original(tmp_path / "other")
    weights = {k: v[: v.shape[0] // 2] if "up_proj" in k else v for k, v in other.weights.items()}
    torch.save(weights, other.folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"trained on another model: .*up_proj"):
        convert(ConvertOptions(str(lora), tmp_path / "out", base=str(other.folder)))


def test_a_base_without_a_lora_is_an_error(original: Original, tmp_path: Path) -> None:
    options = ConvertOptions(str(original.folder), tmp_path / "out", base="org/vicuna")
    with pytest.raises(RequestError, match="base='org/vicuna' does not go with"):
        convert(options)


def test_loading_names_the_command(lora: Path) -> None:
    with pytest.raises(ModelError, match=f"llava-tools convert {lora} --out DIR"):
        load(EngineOptions(str(lora)))
