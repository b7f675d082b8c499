"""Pixels to the features that the language model reads. Layers above those read are skipped.

Towers are CLIP's, which put a class embedding (CLS) before the patches, and SigLIP's, which have
none. What is read is set by LLaVA's `vision_feature_layer` and `vision_feature_select_strategy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from transformers import (
    CLIPVisionModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SiglipVisionModel,
)

from llava_tools.core.image_grid import ImageGrid
from llava_tools.errors import ModelError

Tower = CLIPVisionModel | SiglipVisionModel

#: `model_type` of the towers, in `vision_config`.
CLIP, SIGLIP = "clip_vision_model", "siglip_vision_model"


def check_config(config: LlavaConfig, name: str) -> None:
    """Check by the configuration that a model's image features can be computed.

    Raises:
        ModelError: The vision tower is of another kind, or has not the layers to be read.
    """
    vision: Any = config.vision_config
    if vision.model_type not in (CLIP, SIGLIP):
        raise ModelError(
            f"The vision tower of {name!r} is of the type {vision.model_type!r}; "
            "CLIP and SigLIP are supported.",
            "Run the model in a server that supports it, such as vLLM, and name it: base_url='…'.",
        )
    if not isinstance(vision.image_size, int) or not isinstance(vision.patch_size, int):
        raise ModelError(
            f"The vision tower of {name!r} has an image_size of {vision.image_size} and a "
            f"patch_size of {vision.patch_size}; only squares, written as one number, are "
            "supported.",
            "Use another checkpoint.",
        )
    layers, depth = _feature_layers(config), vision.num_hidden_layers
    if not layers or not all(-depth - 1 <= layer <= depth for layer in layers):
        raise ModelError(
            f"{name!r} reads the vision_feature_layer {config.vision_feature_layer} of a vision "
            f"tower with {depth} layers.",
            f"Correct config.json: layers are {-depth - 1} to {depth}.",
        )


def image_tokens(config: LlavaConfig) -> int:
    """Return the number of tokens that an image takes: 576 in LLaVA 1.5, 729 with SigLIP 384/14."""
    vision: Any = config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    return int(patches + _before_patches(config))


def image_grid(config: LlavaConfig, *, padded: bool) -> ImageGrid:
    """Return where the tokens of an image lie; `padded` is whether it is padded to a square."""
    vision: Any = config.vision_config
    return ImageGrid(vision.image_size // vision.patch_size, padded, _before_patches(config))


def hidden_states(tower: Tower, pixels: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
    """Return hidden states of the given layers, each [images, tokens, width], in the tower's dtype.

    Tokens are the patches, in CLIP after CLS. `pixels` is [images, 3, size, size] in that dtype. A
    layer counts as in LLaVA's `vision_feature_layer`: 0 is the embedding, -1 the last layer.
    """
    model: Any = tower
    hidden: torch.Tensor = model.embeddings(pixels)
    if isinstance(tower, CLIPVisionModel):
        hidden = model.pre_layrnorm(hidden)
    modules = list(model.encoder.layers)
    depths = [layer if layer >= 0 else len(modules) + 1 + layer for layer in layers]
    states = {0: hidden}
    for depth, module in enumerate(modules[: max(depths)], start=1):
        hidden = module(hidden, None)
        if depth in depths:
            states[depth] = hidden
    return [states[depth] for depth in depths]


def features(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Return projected image features: [images, image tokens, hidden].

    Equal to those of transformers' `get_image_features`.
    """
    tower = cast(Tower, model.model.vision_tower)
    states = hidden_states(tower, pixels, _feature_layers(model.config))
    selected = [hidden[:, _skipped(model.config) :] for hidden in states]
    joined = selected[0] if len(selected) == 1 else torch.cat(selected, dim=-1)
    return cast(torch.Tensor, cast(Any, model.model).multi_modal_projector(joined))


def _feature_layers(config: LlavaConfig) -> list[int]:
    layers = config.vision_feature_layer
    return [layers] if isinstance(layers, int) else list(layers)


def _before_patches(config: LlavaConfig) -> int:
    """Return how many tokens are read before those of patches; -1 if one of these is skipped."""
    vision: Any = config.vision_config
    return int(vision.model_type == CLIP) - _skipped(config)


def _skipped(config: LlavaConfig) -> int:
    """Return how many tokens at the beginning are not read: CLS, but in SigLIP the first patch."""
    return int(config.vision_feature_select_strategy == "default")
