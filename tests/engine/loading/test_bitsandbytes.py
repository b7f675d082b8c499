"""What bitsandbytes quantizes on a GPU; here with stand-ins for its layers."""

from __future__ import annotations

import importlib.metadata
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Phi3Config,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.integrations import bitsandbytes as integration
from transformers.quantizers.auto import AutoHfQuantizer

from llava_tools.engine.loading import checkpoint
from llava_tools.options import Quantization

LAYERS = 3
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_hidden_layers": LAYERS,
}
#: Text models, with the number of linear layers in each of their layers.
TEXTS = {"llama": (LlamaConfig, 7), "qwen2": (Qwen2Config, 7), "phi3": (Phi3Config, 4)}
TOWERS = {"clip": CLIPVisionConfig, "siglip": SiglipVisionConfig}


class Quantized(nn.Linear):
    def __init__(self, inputs: int, outputs: int, bias: bool, *_: object, **__: object) -> None:
        super().__init__(inputs, outputs, bias)


@pytest.fixture
def bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version
    monkeypatch.setitem(sys.modules, "bitsandbytes", ModuleType("bitsandbytes"))
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        lambda name: "0.48.0" if name == "bitsandbytes" else version(name),
    )
    layers = SimpleNamespace(Linear4bit=Quantized, Linear8bitLt=Quantized)
    monkeypatch.setattr(integration, "bnb", SimpleNamespace(nn=layers), raising=False)
    monkeypatch.setattr(checkpoint, "supports_bfloat16", lambda device: True)


def quantized(text: str, tower: str, settings: Any) -> list[str]:
    """Return the names of the layers that transformers replaces before it loads weights."""
    config_class, _ = TEXTS[text]
    vision = TOWERS[tower](**SIZES, image_size=56, patch_size=14)
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(
            LlavaConfig(vision_config=vision, text_config=config_class(**SIZES))
        )
    quantizer = AutoHfQuantizer.from_config(settings, pre_quantized=False)
    quantizer._process_model_before_weight_loading(model, device_map={"": "cuda:0"})
    return [name for name, module in model.named_modules() if isinstance(module, Quantized)]


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize("kind", ["4bit", "8bit"])
@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("text", TEXTS)
def test_the_language_models_layers_alone_are_quantized(
    text: str, tower: str, kind: Quantization
) -> None:
    settings = checkpoint._quantization(kind, torch.device("cuda:1"), LlavaConfig())
    names = quantized(text, tower, settings)
    assert len(names) == LAYERS * TEXTS[text][1]
    assert all(name.startswith("model.language_model.layers.") for name in names)


@pytest.mark.usefixtures("bitsandbytes")
def test_names_that_do_not_begin_as_full_names_do_would_quantize_more() -> None:
    """Why the names are full: this is what happened."""
    settings: Any = checkpoint._quantization("4bit", torch.device("cuda:0"), LlavaConfig())
    settings.llm_int8_skip_modules = ["vision_tower", "multi_modal_projector", "lm_head"]
    names = quantized("llama", "clip", settings)
    assert any(name.startswith("model.vision_tower.") for name in names)


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize(("computes", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_4_bit_is_computed_in_what_the_models_own_gpu_computes_in(
    computes: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[torch.device] = []

    def supports_bfloat16(device: torch.device) -> bool:
        devices.append(device)
        return computes

    monkeypatch.setattr(checkpoint, "supports_bfloat16", supports_bfloat16)
    settings: Any = checkpoint._quantization("4bit", torch.device("cuda:1"), LlavaConfig())
    assert settings.bnb_4bit_compute_dtype == dtype
    assert settings.bnb_4bit_quant_type == "nf4"
    assert devices == [torch.device("cuda:1")]
