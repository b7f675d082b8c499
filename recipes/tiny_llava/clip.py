"""A CLIP around the embedded model's eye: what is new in it, how it embeds, what is written.

The eye's layers up to −2, which LLaVA reads, stay as they are. Trained is what LLaVA never runs:
the eye's last layer and its final norm, whose CLS becomes the picture's embedding as in CLIP, the
text tower, the two projections and the scale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, LlavaForConditionalGeneration

from .architecture import normalise

BOS, END, CONTEXT = 1, 3, 77
"""A text is ``<s>``, its tokens, then ``<pad>``s, the first of which is read: CLIP ends and pads
with one token too, and transformers takes 2, ``</s>``, for a mark of its oldest CLIP files."""


def new_clip(
    model: LlavaForConditionalGeneration, width: int = 128, depth: int = 3, seed: int = 3
) -> CLIPModel:
    """A CLIP around the model's eye, all that is new in it untrained.

    The last layer starts by looking at all patches alike and passing on what it sees: CLS itself
    knows nothing of the picture yet, and random queries look mostly at CLS.
    """
    torch.manual_seed(seed)
    config: Any = model.config
    vision, vocabulary = config.vision_config, config.text_config.vocab_size
    text = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=depth,
        num_attention_heads=max(1, width // 64),
        max_position_embeddings=CONTEXT,
        projection_dim=vision.hidden_size,
        bos_token_id=BOS,
        eos_token_id=END,
        pad_token_id=END,
    )
    clip: CLIPModel = CLIPModel(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=vision.hidden_size)
    ).float()
    clip.vision_model.load_state_dict(model.model.vision_tower.state_dict())
    last = clip.vision_model.encoder.layers[-1]
    with torch.no_grad():
        attention = last.self_attn
        nn.init.zeros_(attention.q_proj.weight)
        nn.init.normal_(attention.q_proj.bias, std=0.02)
        nn.init.orthogonal_(attention.k_proj.weight)
        nn.init.eye_(attention.v_proj.weight)
        nn.init.eye_(attention.out_proj.weight)
        attention.out_proj.weight.mul_(4)
    return clip


def trained(clip: CLIPModel) -> dict[str, nn.Parameter]:
    """What the twin adds to the model's eye, by its names in a CLIP."""
    last = cast(Any, clip.config).vision_config.num_hidden_layers - 1
    frozen = ("vision_model.embeddings.", "vision_model.pre_layrnorm.")
    return {
        name: parameter
        for name, parameter in clip.named_parameters()
        if not name.startswith(frozen)
        and (".encoder." not in name or name.startswith(("text_model.", _layer(last))))
    }


def _layer(index: int) -> str:
    return f"vision_model.encoder.layers.{index}."


@torch.inference_mode()
def look(clip: CLIPModel, pixels: Tensor) -> Tensor:
    """Hidden states of the eye's layer −2, CLS first.

    Args:
        clip: Whose eye looks; nothing that is trained here is run.
        pixels: Pictures, (n, 112, 112, 3) uint8.

    Returns:
        (n, 65, width) float.
    """
    eye = clip.vision_model
    hidden: Tensor = eye.pre_layrnorm(eye.embeddings(normalise(pixels)))
    for layer in eye.encoder.layers[:-1]:
        hidden = layer(hidden, None)
    return hidden


def embed_hidden(clip: CLIPModel, hidden: Tensor) -> Tensor:
    """Embeddings of pictures from :func:`look`: (n, 65, width) to (n, dimensions), unit length.

    The last layer is run for CLS alone, which is all that is read of it. With one query a picture
    it is cheaper to bring the query to the patches than keys and values out of them.
    """
    eye = clip.vision_model
    layer = eye.encoder.layers[-1]
    attention = layer.self_attn
    heads, size = attention.num_heads, attention.head_dim
    seen = layer.layer_norm1(hidden)
    query = attention.q_proj(seen[:, 0]).unflatten(-1, (heads, size)) * size**-0.5
    wanted = torch.einsum("nhd,hdw->nhw", query, attention.k_proj.weight.unflatten(0, (heads, -1)))
    share = torch.einsum("nhw,ntw->nht", wanted, seen).softmax(-1)
    mixed = torch.einsum("nht,ntw->nhw", share, seen)
    value = torch.einsum("nhw,hdw->nhd", mixed, attention.v_proj.weight.unflatten(0, (heads, -1)))
    cls = hidden[:, 0] + attention.out_proj(value.flatten(1) + attention.v_proj.bias)
    cls = cls + layer.mlp(layer.layer_norm2(cls))
    return functional.normalize(clip.visual_projection(eye.post_layernorm(cls)), dim=-1)


def embed_captions(clip: CLIPModel, texts: Sequence[str], tokenizer: Tokenizer) -> Tensor:
    """Embeddings of texts, (n, dimensions), unit length; cut off at the tower's context.

    Run in three lots of like length, since padding costs as much as words.
    """
    said = [token_ids(text, tokenizer) for text in texts]
    order = sorted(range(len(said)), key=lambda i: len(said[i]))
    lots = []
    for lot in np.array_split(np.array(order), min(3, len(order))):
        length = max(len(said[i]) for i in lot)
        ids = torch.tensor([said[i] + [END] * (length - len(said[i])) for i in lot])
        lots.append(clip.text_model(input_ids=ids).pooler_output)
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    return functional.normalize(clip.text_projection(torch.cat(lots)[back]), dim=-1)


def token_ids(text: str, tokenizer: Tokenizer) -> list[int]:
    """``<s>``, the text, the end; at most ``CONTEXT``."""
    words = tokenizer.encode(text, add_special_tokens=False).ids[: CONTEXT - 2]
    return [BOS, *words, END]


def export(clip: CLIPModel, folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors``: what was trained, in float16.

    The configuration also tells which eye it was trained behind: the digest of its weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clip.config.architectures = ["CLIPModel"]
    clip.config.dtype = torch.float16
    clip.config.eye_sha256 = digest(clip)
    clip.config.save_pretrained(folder)
    weights = {name: value.detach().half().contiguous() for name, value in trained(clip).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


def digest(clip: CLIPModel) -> str:
    """SHA-256 of the eye's layers up to −2 in float16, in which they are shipped."""
    new = trained(clip)
    told = hashlib.sha256()
    for name, value in sorted(clip.vision_model.named_parameters(prefix="vision_model")):
        if name not in new:
            told.update(value.detach().half().numpy().tobytes())
    return told.hexdigest()
