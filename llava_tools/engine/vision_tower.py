"""Pixels to the features that the language model reads. Layers above the one read are skipped."""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import CLIPVisionModel, LlavaForConditionalGeneration


def hidden_states(tower: CLIPVisionModel, pixels: torch.Tensor, layer: int) -> torch.Tensor:
    """Return hidden states, CLS first, [images, 1 + patches, width], in the tower's dtype.

    `pixels` is [images, 3, size, size] in that dtype. `layer` counts as LLaVA's
    `vision_feature_layer`: 0 is the embedding, -1 the last layer.
    """
    model: Any = tower
    hidden: torch.Tensor = model.pre_layrnorm(model.embeddings(pixels))
    layers = list(model.encoder.layers)
    for module in layers[: layer if layer >= 0 else len(layers) + 1 + layer]:
        hidden = module(hidden, None)
    return hidden


def features(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Return projected image features: [images, image tokens, hidden]."""
    config: Any = model.config
    layer: int | list[int] = config.vision_feature_layer
    tower = cast(CLIPVisionModel, model.model.vision_tower)
    if not isinstance(tower, CLIPVisionModel) or not isinstance(layer, int):
        projected = model.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
        return torch.stack(list(projected))
    hidden = hidden_states(tower, pixels, layer)
    if config.vision_feature_select_strategy == "default":
        hidden = hidden[:, 1:]
    return cast(torch.Tensor, cast(Any, model.model).multi_modal_projector(hidden))
