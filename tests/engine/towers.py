"""Random-weight LLaVAs with other vision towers than LLaVA 1.5's."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from transformers import (
    CLIPVisionConfig,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
    SiglipVisionConfig,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tests import checkpoints

SIZE, PATCH, LAYERS = 56, 14, 4


def clip() -> CLIPVisionConfig:
    """A small CLIP vision tower: CLS and 16 patches."""
    return CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
    )


def siglip() -> SiglipVisionConfig:
    """A small SigLIP vision tower with its pooling head: 16 patches."""
    return SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
    )


def random_model(
    vision: PreTrainedConfig,
    layer: int | list[int] = -2,
    strategy: Literal["default", "full"] = "full",
) -> LlavaForConditionalGeneration:
    """A model with large random weights, whose likeliest tokens do not depend on rounding."""
    torch.manual_seed(1)
    tokenizer = checkpoints.llama_like_tokenizer()
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    config = checkpoints.config(len(tokenizer), image_token)
    config.vision_config = vision
    config.vision_feature_layer = layer
    config.vision_feature_select_strategy = strategy
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5)
    model.eval()
    return model


def write_siglip(folder: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write a LLaVA with a SigLIP tower, its head included, and SigLIP's processor."""
    random_model(siglip()).to(dtype).save_pretrained(folder)
    checkpoints.llama_like_tokenizer().save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(folder)
    return folder
