"""The two stages of LLaVA 1.5, by `llava_tools.finetune` itself, and the files that they end in.

`DIR/clip` and `DIR/language` go in. Stage 1 trains the projector between them on captions
(`DIR/align` to `DIR/aligned`), stage 2 trains projector and language model on conversations
(`DIR/tune` to `DIR/tuned`). `DIR/model` gets the result in float16, and `DIR/model/clip` the rest
of the CLIP. Drawing and training take two processes of one thread each. A killed run resumes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import CLIPModel, GenerationConfig, LlavaForConditionalGeneration

from llava_tools.finetune import AlignOptions, TuneOptions, align, tune, write_progress

from . import records
from .model import BOS, END, PAD
from .processes import PROCESSES, run_all


@dataclass(frozen=True)
class Stage:
    """A stage, and its steps; each record is used once.

    Attributes:
        name: `align` or `tune`, also of the folder with its data.
        out: The folder of its checkpoint.
        steps: Number of steps.
        batch_size: Records of a step, shared between the processes.
    """

    name: str
    out: str
    steps: int
    batch_size: int


def run(stage: Stage, folder: Path) -> None:
    """Draw a stage's data and train on them; `DIR/<out>` appears when it is done."""
    records.write(folder / stage.name, stage.name, stage.steps * stage.batch_size)
    if (folder / stage.out).exists():
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run_all(partial(_train, stage, folder, port), range(PROCESSES))


def _train(stage: Stage, folder: Path, port: int, rank: int) -> None:
    """Train as one of the processes, which meet at a port of this machine."""
    os.environ |= {
        "ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(PROCESSES),
    }  # fmt: skip
    torch.set_num_threads(1)

    def show(line: str) -> None:
        write_progress(f"{stage.name} {line}")
        with (folder / f"{stage.name}.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps({"time": round(time.time(), 1), "progress": line}) + "\n")

    shared: dict[str, Any] = {
        "data": folder / stage.name / "data.json", "images": folder / stage.name / "images",
        "out": folder / stage.out, "batch_size": stage.batch_size, "save_every": 50,
        "micro_batch_size": -(-stage.batch_size // (2 * PROCESSES)), "device": "cpu",
        "gradient_checkpointing": False, "local_files_only": True,
    }  # fmt: skip
    if stage.name == "align":
        shared |= {"vision": str(folder / "clip"), "model": str(folder / "language")}
        align(AlignOptions(learning_rate=2e-3, **shared), show)
    else:
        shared |= {"model": str(folder / "aligned"), "method": "full"}
        tune(TuneOptions(learning_rate=1e-3, projector_learning_rate=5e-4, **shared), show)


def export(folder: Path) -> None:
    """Write `DIR/model`: the tuned model as transformers loads it, and the rest of the CLIP."""
    target = folder / "model.part"
    shutil.rmtree(target, ignore_errors=True)
    tuned = folder / "tuned"
    model: Any = LlavaForConditionalGeneration.from_pretrained(tuned, dtype=torch.float16)
    model.generation_config = GenerationConfig(
        bos_token_id=BOS, eos_token_id=END, pad_token_id=PAD, do_sample=False
    )
    model.save_pretrained(target)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tuned / name, target / name)
    processor = "processor_config.json"
    shutil.copyfile(tuned / processor, target / processor)
    export_clip(CLIPModel.from_pretrained(folder / "clip"), target / "clip")
    if (old := folder / "model").exists():
        shutil.rmtree(old)
    target.rename(folder / "model")


def export_clip(clip: CLIPModel, target: Path) -> None:
    """Write what a CLIP has beyond LLaVA's vision tower, in float16.

    That is the text tower, the last layer of the vision tower and the norm after it, and the
    projections. `config.json` has the SHA-256 of the layers before, which the LLaVA has.
    """
    config: Any = clip.config
    last = config.vision_config.num_hidden_layers - 1
    beyond = (
        f"vision_model.encoder.layers.{last}.", "vision_model.post_layernorm.", "text_model.",
        "visual_projection.", "text_projection.", "logit_scale",
    )  # fmt: skip
    digest, weights = hashlib.sha256(), {}
    for name, value in sorted(clip.named_parameters()):
        half = value.detach().half().contiguous()
        if name.startswith(beyond):
            weights[name] = half
        else:
            digest.update(half.numpy().tobytes())
    config.architectures, config.dtype = ["CLIPModel"], torch.float16
    config.vision_tower_sha256 = digest.hexdigest()
    target.mkdir(parents=True)
    config.save_pretrained(target)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--align-steps", type=int, default=300)
    parser.add_argument("--tune-steps", type=int, default=1300)
    parser.add_argument("--align-batch", type=int, default=64)
    parser.add_argument("--tune-batch", type=int, default=48)
    options = parser.parse_args(arguments)
    run(Stage("align", "aligned", options.align_steps, options.align_batch), options.folder)
    run(Stage("tune", "tuned", options.tune_steps, options.tune_batch), options.folder)
    if not (options.folder / "model").exists():
        export(options.folder)


if __name__ == "__main__":
    main()
