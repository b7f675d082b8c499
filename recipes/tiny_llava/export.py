"""The files that are shipped: weights in float16 and everything that transformers loads beside.

A trained model and tokenizer go in, a folder comes out that ``LlavaForConditionalGeneration`` and
``AutoProcessor`` load: config.json, model.safetensors, generation_config.json, tokenizer.json,
tokenizer_config.json, processor_config.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, LlavaForConditionalGeneration

from .architecture import MEAN, SIDE, STD
from .tokenizer import save_tokenizer


def export(model: LlavaForConditionalGeneration, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the model's folder; the model itself stays in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(tokenizer, folder)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    model.half()
    model.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=2, pad_token_id=3, do_sample=False
    )
    model.save_pretrained(folder)
    model.float()
    with torch.no_grad():
        model.load_state_dict(weights)
    settings = {
        "processor_class": "LlavaProcessor",
        "image_token": "<image>",
        "patch_size": 14,
        "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": "default",
        "image_processor": {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"shortest_edge": SIDE},
            "resample": 3,
            "do_center_crop": True,
            "crop_size": {"height": SIDE, "width": SIDE},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(MEAN),
            "image_std": list(STD),
        },
    }
    (folder / "processor_config.json").write_text(
        json.dumps(settings, indent=2) + "\n", encoding="utf-8"
    )
