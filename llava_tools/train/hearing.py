"""Packed conversations through the language model."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import LlavaForConditionalGeneration

from .conversations import IMAGE, Conversations


def hear(
    model: LlavaForConditionalGeneration,
    told: Conversations,
    features: Tensor,
    *,
    states: bool = False,
) -> Any:
    """What the language model makes of them: transformers' output, with all layers' ``states``.

    ``features`` (rows with a picture, 64, width) are projected image features; the eye is not used.
    """
    embedded = model.get_input_embeddings()(told.ids)
    image = told.ids == IMAGE
    embedded = embedded.masked_scatter(image[..., None], features.to(embedded.dtype))
    return model.model.language_model(
        inputs_embeds=embedded,
        attention_mask=told.allowed,
        position_ids=told.positions,
        use_cache=False,
        output_hidden_states=states,
    )
