"""Where a language model's heads look, computed the plain way."""

from typing import Any

import torch
from transformers import LlavaForConditionalGeneration

from recipes.tiny_llava.packing import IMAGE, Conversations


def attentions(
    model: LlavaForConditionalGeneration, told: Conversations, features: torch.Tensor
) -> Any:
    """Attention weights of every layer, (rows, heads, length, length) each."""
    model.set_attn_implementation("eager")
    embedded = model.get_input_embeddings()(told.ids)
    image = (told.ids == IMAGE)[..., None]
    passed = model.model.language_model(
        inputs_embeds=embedded.masked_scatter(image, features),
        attention_mask=torch.where(told.allowed, 0.0, -1e9),
        position_ids=told.positions,
        output_attentions=True,
    )
    model.set_attn_implementation("sdpa")
    return passed.attentions
