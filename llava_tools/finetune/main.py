"""A tuning in order: check all that can be, load, learn, merge, and say what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from accelerate import Accelerator

from llava_tools.engine.device import pick_device, pick_dtype
from llava_tools.engine.loading.checkpoint import load, locate
from llava_tools.errors import RequestError
from llava_tools.finetune.batches import plan
from llava_tools.finetune.checkpoint import Checkpoints, Row
from llava_tools.finetune.dataset import TrainingDataset
from llava_tools.finetune.loss_plot import plot
from llava_tools.finetune.merge import check_names, merge, shards
from llava_tools.finetune.options import MAX_LENGTH, TuneOptions
from llava_tools.finetune.parameters import changes, choose
from llava_tools.finetune.records import read_records
from llava_tools.finetune.trainer import Trainer, share
from llava_tools.options import EngineOptions


def run(options: TuneOptions) -> float:
    """Do what `tune` says."""
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise RequestError(f"{options.out} is there already.", "Choose a new folder for out.")
    records = read_records(options.data, options.images)
    memory = Checkpoints(options.work_folder, options)
    processes = Accelerator(cpu=options.device == "cpu")
    loaded = load(_engine(options))
    weights = shards(locate(options.engine), options)
    max_length = _length(loaded.model.config, options)
    material = TrainingDataset(records, loaded, max_length)
    cut = material.check()
    steps = plan(records, options.epochs, options.batch, options.micro_batch, options.seed)
    if share(len(steps) - 1, len(steps), options.warmup) == 0:
        raise RequestError(
            f"{len(records)} records make one step of {options.batch}, and the rate begins at 0.",
            "Choose a smaller batch, more epochs, or warmup=0.",
        )
    learning = choose(loaded.model, options)
    learned = changes(loaded.model)
    check_names(weights, learned)
    if processes.is_main_process:
        millions = sum(parameter.numel() for parameter in learning.values()) / 1e6
        _say(
            f"{len(records)} records, {cut} of them cut at {max_length} tokens; "
            f"{len(steps)} steps; {millions:.2f} million weights learn ({options.method}), "
            f"on {loaded.model.device}"
        )
    rows = Trainer(loaded.model, learning, memory, processes, options).run(material, steps)
    last = rows[-min(20, 1 + len(rows) // 10) :]
    loss = sum(row.loss for row in last) / len(last)
    if processes.is_main_process:
        merge(weights, learned, options.out)
        _report(options, rows, loss)
        _say(
            f"loss {loss:.4f} at the end; the tuned model is in {options.out}; "
            f"{options.work_folder}, which a killed tuning goes on from, may go now"
        )
    processes.wait_for_everyone()
    return loss


def _engine(options: TuneOptions) -> EngineOptions:
    """What to load; where the engine would choose float16, weights are float32."""
    wanted = options.engine
    if pick_dtype(wanted, pick_device(wanted.device)) == torch.float16:
        return replace(wanted, dtype="float32")
    return wanted


def _length(config: Any, options: TuneOptions) -> int:
    """How many tokens of a conversation are learned from at most."""
    context_length: int = config.text_config.max_position_embeddings
    if options.max_length is None:
        return min(MAX_LENGTH, context_length)
    if options.max_length > context_length:
        raise RequestError(
            f"max_length={options.max_length} is more than the {context_length} tokens that "
            f"{options.model!r} was built for.",
            "Leave it out, or choose less.",
        )
    return options.max_length


def _report(options: TuneOptions, rows: Sequence[Row], loss: float) -> None:
    """Write how the checkpoint was made beside it: options, losses, their plot."""
    made = {"loss": loss, "options": asdict(options), "steps": [asdict(row) for row in rows]}
    (options.out / "tuning.json").write_text(json.dumps(made, default=str, indent=1) + "\n")
    plot({"loss a token": [row.loss for row in rows]}, options.out / "losses.png")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
