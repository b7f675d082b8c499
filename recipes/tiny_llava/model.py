"""The parts of the embedded model at the start, a CLIP and a Llama, and how images enter.

The shapes are LLaVA 1.5's at 9.7 million parameters: a CLIP of 112 px in 14 px patches, features of
layer -2 without CLS, 64 image tokens; a Llama with tied embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
)

from .render import square

SIDE, PATCH = 112, 14
IMAGE_TOKENS = (SIDE // PATCH) ** 2
BOS, END, PAD, IMAGE = 1, 2, 3, 4
CONTEXT, TEXT_CONTEXT = 2048, 77
#: CLIP's official normalisation of RGB in 0-1.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def new_clip(vocabulary: int, width: int = 256, depth: int = 6, seed: int = 1) -> CLIPModel:
    """Return a CLIP with new weights, float32; its text tower is half as wide and deep.

    The position embeddings start as sines and cosines of row and column, and keys as queries
    ("mimetic initialization", Trockman and Kolter, 2023): from CLIP's own start, a tower of this
    size does not tell shapes for thousands of steps.
    """
    torch.manual_seed(seed)
    text = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width // 2,
        intermediate_size=2 * width,
        num_hidden_layers=max(1, depth // 2),
        num_attention_heads=max(1, width // 128),
        max_position_embeddings=TEXT_CONTEXT,
        projection_dim=width,
        bos_token_id=BOS,
        eos_token_id=PAD,  # transformers takes 2 for a mark of its oldest CLIP files
        pad_token_id=PAD,
    )
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=depth,
        num_attention_heads=max(1, width // 64),
        image_size=SIDE,
        patch_size=PATCH,
    )
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=width)
    clip: CLIPModel = CLIPModel(config).float()
    # Over 64 patches, plain attention is several times as fast in bfloat16 as torch's fused one.
    clip.set_attn_implementation("eager")
    with torch.no_grad():
        positions = clip.vision_model.embeddings.position_embedding.weight
        positions[1:] = 0.7 * waves(SIDE // PATCH, width)
        for layer in clip.vision_model.encoder.layers:
            start_alike(layer.self_attn, width)
    return clip


def start_alike(attention: Any, width: int) -> None:
    """Give an attention layer the same random queries and keys."""
    nn.init.normal_(attention.q_proj.weight, std=0.8 * width**-0.5)
    attention.k_proj.weight.data.copy_(attention.q_proj.weight)


def waves(grid: int, width: int) -> Tensor:
    """Return sines and cosines of row and column: float32 (grid^2, width) in -1 to 1."""
    speeds = 2.0 ** torch.linspace(-2, 1, width // 4)
    angles = torch.arange(grid).float()[:, None] * speeds
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = line[:, None].expand(grid, grid, -1), line[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=-1).reshape(grid * grid, -1)


def new_language_model(
    vocabulary: int, width: int = 256, depth: int = 4, seed: int = 2
) -> LlamaForCausalLM:
    """Return a Llama with new weights, float32, tied embeddings and twice the usual heads.

    Keys start as queries, as in `new_clip`: what is alike is looked up from the start.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 21 // 8,
        num_hidden_layers=depth,
        num_attention_heads=2 * max(1, width // 64),
        head_dim=min(64, width),
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    model: LlamaForCausalLM = LlamaForCausalLM(config).float()
    nn.init.normal_(model.model.embed_tokens.weight, std=0.08)
    for layer in model.model.layers:
        start_alike(layer.self_attn, width)
    return model


def pixels(images: Sequence[Image.Image]) -> Tensor:
    """Return padded, normalised images as CLIP takes them: float32 (n, 3, 112, 112)."""
    stacked = np.stack([np.asarray(square(image, SIDE)) for image in images])
    scaled = torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (scaled - mean) / std
