"""The embedded model's shape: LLaVA 1.5's architecture, small enough for two CPU cores.

CLIP vision tower of 112 px in 14 px patches, features of layer −2 without CLS, a two-layer GELU
projector, a Llama language model with tied embeddings: about 9.7 million parameters. Its layers
have twice the heads that their width asks for: reading takes some that have nothing else to do.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

IMAGE_TOKENS = 64
SIDE = 112
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's official normalisation of RGB in 0–1."""


def tiny_config(vocabulary: int, width: int = 256, depth: int = 4) -> LlavaConfig:
    """The embedded model's configuration; ``width`` and ``depth`` shrink it for smoke tests."""
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=depth + 2,
        num_attention_heads=max(1, width // 64),
        image_size=SIDE,
        patch_size=14,
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 21 // 8,
        num_hidden_layers=depth,
        num_attention_heads=2 * max(1, width // 64),
        head_dim=min(64, width),
        max_position_embeddings=2048,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=4,
        image_seq_length=IMAGE_TOKENS,
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )


def new_model(config: LlavaConfig, seed: int) -> LlavaForConditionalGeneration:
    """A model with fresh weights, float32.

    CLIP's own start leaves an eye of this size blind to where a patch lies, and so to shapes, for
    thousands of steps. Its position embeddings start as sines and cosines of row and column
    instead, and its queries and keys alike, so that patches attend to near and similar ones.
    """
    torch.manual_seed(seed)
    model: LlavaForConditionalGeneration = LlavaForConditionalGeneration(config).float()
    nn.init.normal_(model.model.language_model.embed_tokens.weight, std=0.08)
    tower = model.model.vision_tower
    with torch.no_grad():
        positions = tower.embeddings.position_embedding.weight
        positions[1:] = waves(SIDE // 14, positions.shape[1]) * 0.7
        for layer in tower.encoder.layers:
            nn.init.normal_(layer.self_attn.q_proj.weight, std=0.8 * positions.shape[1] ** -0.5)
            layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
    return model


def text_width(model: LlavaForConditionalGeneration) -> int:
    """Width of the language model, and so of projected patch features."""
    width: int = cast(Any, model.config).text_config.hidden_size
    return width


def eye_shape(model: LlavaForConditionalGeneration) -> tuple[int, int]:
    """Width and number of layers of the vision tower."""
    vision = cast(Any, model.config).vision_config
    return vision.hidden_size, vision.num_hidden_layers


def waves(grid: int, width: int) -> Tensor:
    """Sines and cosines of row and column at rising frequencies, (``grid``², ``width``) in ±1."""
    quarter = width // 4
    speeds = 2.0 ** torch.linspace(-2, 1, quarter)
    angles = torch.arange(grid).float()[:, None] * speeds
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = line[:, None].expand(grid, grid, -1)
    columns = line[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=-1).reshape(grid * grid, width)


def see(model: LlavaForConditionalGeneration, pixels: Tensor) -> Tensor:
    """Patch features of the eye's layer −2 without CLS, before the projector.

    Args:
        model: The model whose eye looks.
        pixels: Normalised pictures, (batch, 3, 112, 112) float.

    Returns:
        (batch, 64, width of the eye) float.
    """
    return layers(model, pixels)[-1]


def layers(model: LlavaForConditionalGeneration, pixels: Tensor) -> list[Tensor]:
    """Patch features after each of the eye's layers up to −2; nothing reads the last layer."""
    tower = model.model.vision_tower
    hidden: Tensor = tower.pre_layrnorm(tower.embeddings(pixels))
    features = []
    for layer in tower.encoder.layers[:-1]:
        hidden = layer(hidden, None)
        features.append(hidden[:, 1:])
    return features


def normalise(pixels: Tensor) -> Tensor:
    """(batch, 112, 112, 3) uint8 pictures to what the eye takes, (batch, 3, 112, 112) float."""
    scaled = pixels.permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    return (scaled - mean) / torch.tensor(STD).view(1, 3, 1, 1)
