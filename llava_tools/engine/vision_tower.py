"""Pixels to what a vision tower sees before its last layers, which nobody needs to compute."""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import CLIPVisionModel, LlavaForConditionalGeneration


def hidden_states(tower: CLIPVisionModel, pixels: torch.Tensor, layer: int) -> torch.Tensor:
    """Return hidden states, CLS first: [images, 1 + patches, width].

    Args:
        tower: Of CLIP.
        pixels: [images, 3, size, size] in the tower's dtype.
        layer: As LLaVA's `vision_feature_layer` counts: 0 is the embedding, -1 the last layer.
    """
    inner: Any = tower
    hidden: torch.Tensor = inner.pre_layrnorm(inner.embeddings(pixels))
    layers = list(inner.encoder.layers)
    for each in layers[: layer if layer >= 0 else len(layers) + 1 + layer]:
        hidden = each(hidden, None)
    return hidden


def features(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Return images as the language model reads them: [images, image tokens, hidden]."""
    config: Any = model.config
    wanted: int | list[int] = config.vision_feature_layer
    tower = cast(CLIPVisionModel, model.model.vision_tower)
    if not isinstance(tower, CLIPVisionModel) or not isinstance(wanted, int):
        seen = model.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
        return torch.stack(list(seen))
    hidden = hidden_states(tower, pixels, wanted)
    if config.vision_feature_select_strategy == "default":
        hidden = hidden[:, 1:]
    return cast(torch.Tensor, cast(Any, model.model).multi_modal_projector(hidden))
