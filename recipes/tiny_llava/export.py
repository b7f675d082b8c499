"""The files of the trained model: `DIR/tuned` and `DIR/clip` go in, `DIR/model` comes out.

`DIR/model` is the LLaVA in float16, and `DIR/model/clip` what its CLIP has beyond it.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import CLIPModel, GenerationConfig, LlavaForConditionalGeneration

from .model import BOS, END, PAD

#: What the model leaves behind: reports of the training; its weights are written anew.
LEFT = shutil.ignore_patterns("README.md", "tuning.json", "losses.png", "*.safetensors")


def export(folder: Path) -> None:
    """Write `model` in a run's folder, in place of an older one."""
    tuned, target = folder / "tuned", folder / "model"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(tuned, target, ignore=LEFT)
    model: Any = LlavaForConditionalGeneration.from_pretrained(tuned, dtype=torch.float16)
    special = {"bos_token_id": BOS, "eos_token_id": END, "pad_token_id": PAD}
    model.generation_config = GenerationConfig(**special, do_sample=False)
    model.save_pretrained(target)
    export_clip(CLIPModel.from_pretrained(folder / "clip"), target / "clip")


def export_clip(clip: CLIPModel, target: Path) -> None:
    """Write a CLIP without the layers that LLaVA has; `config.json` gets their SHA-256."""
    config: Any = clip.config
    last = f"vision_model.encoder.layers.{config.vision_config.num_hidden_layers - 1}."
    beyond = last, "vision_model.post_layernorm.", "visual_", "text_", "logit_scale"
    digest, weights = hashlib.sha256(), {}
    for name, value in sorted(clip.named_parameters()):
        half = value.detach().half().contiguous()
        if name.startswith(beyond):
            weights[name] = half
        else:
            digest.update(half.numpy().tobytes())
    config.architectures, config.dtype = ["CLIPModel"], torch.float16
    config.vision_tower_sha256 = digest.hexdigest()
    target.mkdir()
    config.save_pretrained(target)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    export(parser.parse_args().folder)
