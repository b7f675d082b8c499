"""A run from start to end: check the input, load, train, merge, and report."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from accelerate import Accelerator

from llava_tools.engine.device import pick_device, pick_dtype
from llava_tools.engine.loading.checkpoint import load
from llava_tools.errors import RequestError
from llava_tools.finetune.batch_sampler import sample_batches
from llava_tools.finetune.checkpoint import CheckpointStore, StepMetrics
from llava_tools.finetune.dataset import TrainingDataset
from llava_tools.finetune.loss_plot import plot_losses
from llava_tools.finetune.merge import check_names, merge, weight_files
from llava_tools.finetune.options import DEFAULT_MAX_LENGTH, TuneOptions
from llava_tools.finetune.parameters import select_parameters, weight_updates
from llava_tools.finetune.records import read_records
from llava_tools.finetune.trainer import Trainer, learning_rate_factor
from llava_tools.options import EngineOptions


def run(options: TuneOptions) -> float:
    """Run `tune`, whose extra is installed."""
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise RequestError(f"{options.out} already exists.", "Choose a new folder for out.")
    records = read_records(options.data, options.images)
    store = CheckpointStore(options.work_folder, options)
    accelerator = Accelerator(cpu=options.device == "cpu")
    loaded = load(_engine_options(options))
    files = weight_files(loaded)
    max_length = _max_length(loaded.model.config, options)
    dataset = TrainingDataset(records, loaded, max_length)
    truncated = dataset.count_truncated()
    steps = sample_batches(
        records, options.epochs, options.batch_size, options.micro_batch_size, options.seed
    )
    if learning_rate_factor(len(steps) - 1, len(steps), options.warmup_ratio) == 0:
        raise RequestError(
            f"{len(records)} records make one step of {options.batch_size}, and the rate begins at "
            "0.",
            "Choose a smaller batch_size, more epochs, or warmup_ratio=0.",
        )
    parameters = select_parameters(loaded.model, options)
    updates = weight_updates(loaded.model)
    check_names(files, updates)
    if accelerator.is_main_process:
        millions = sum(parameter.numel() for parameter in parameters.values()) / 1e6
        sys.stderr.write(
            f"{len(records)} records, {truncated} of them truncated to {max_length} tokens; "
            f"{len(steps)} steps; {millions:.2f} million trainable weights ({options.method}), "
            f"on {loaded.model.device}\n"
        )
    metrics = Trainer(loaded.model, parameters, store, accelerator, options).run(dataset, steps)
    last = metrics[-min(20, 1 + len(metrics) // 10) :]
    loss = sum(step.loss for step in last) / len(last)
    if accelerator.is_main_process:
        merge(files, updates, options.out)
        _write_report(options, metrics, loss)
        sys.stderr.write(
            f"final loss {loss:.4f}; the tuned model is in {options.out}; "
            f"{options.work_folder} (for resuming) can be deleted\n"
        )
    accelerator.wait_for_everyone()
    return loss


def _engine_options(options: TuneOptions) -> EngineOptions:
    """Return how to load the model: in float32 where the engine would choose float16."""
    float16 = pick_dtype(options, pick_device(options.device)) == torch.float16
    return EngineOptions(
        model=options.model,
        device=options.device,
        dtype="float32" if float16 else options.dtype,
        revision=options.revision,
        local_files_only=options.local_files_only,
        conversation=options.conversation,
    )


def _max_length(config: Any, options: TuneOptions) -> int:
    """Return how many tokens of a conversation are trained on at most."""
    context_length: int = config.text_config.max_position_embeddings
    if options.max_length is None:
        return min(DEFAULT_MAX_LENGTH, context_length)
    if options.max_length > context_length:
        raise RequestError(
            f"max_length={options.max_length} is more than the {context_length} tokens that "
            f"{options.model!r} was built for.",
            "Leave it out, or choose less.",
        )
    return options.max_length


def _write_report(options: TuneOptions, metrics: Sequence[StepMetrics], loss: float) -> None:
    """Write options, losses and their plot beside the checkpoint."""
    report = {"loss": loss, "options": asdict(options), "steps": [asdict(s) for s in metrics]}
    (options.out / "tuning.json").write_text(json.dumps(report, default=str, indent=1) + "\n")
    plot_losses({"loss per token": [step.loss for step in metrics]}, options.out / "losses.png")
