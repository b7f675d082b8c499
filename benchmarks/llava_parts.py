"""Splits a LLaVA into what the first stage starts from: its vision tower and its language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    AutoTokenizer,
    CLIPVisionModel,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil


def write_parts(llava: Path, folder: Path) -> tuple[Path, Path]:
    """Write `vision` and `language` to a folder, and return their paths; the projector is left out.

    Args:
        llava: A checkpoint in the llava-hf layout of a CLIP tower and a Llama.
        folder: New, or without folders of these names.
    """
    model: Any = LlavaForConditionalGeneration.from_pretrained(llava)
    text, size = model.config.text_config, model.config.vision_config.image_size
    vision, language = folder / "vision", folder / "language"
    tower: Any = CLIPVisionModel(model.config.vision_config)
    tower.load_state_dict(model.model.vision_tower.state_dict())
    tower.to(model.dtype).save_pretrained(vision)
    CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    ).save_pretrained(vision)
    decoder: Any = LlamaForCausalLM(text)
    decoder.model.load_state_dict(model.model.language_model.state_dict())
    decoder.lm_head.load_state_dict(model.lm_head.state_dict())
    decoder.to(model.dtype).save_pretrained(language)
    AutoTokenizer.from_pretrained(llava).save_pretrained(language)
    return vision, language
