"""A run from start to end: check the input, load, train, merge, and report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from accelerate import Accelerator, DistributedType

from llava_tools.chat.formats import VICUNA_V1
from llava_tools.engine.device import pick_device, pick_dtype
from llava_tools.engine.loading.checkpoint import LoadedModel, load
from llava_tools.engine.loading.composition import compose
from llava_tools.engine.loading.source import resolve
from llava_tools.errors import RequestError
from llava_tools.finetune.batch_sampler import MicroBatches, sample_batches
from llava_tools.finetune.card import write_card
from llava_tools.finetune.checkpoint import CheckpointStore, StepMetrics, data_digest
from llava_tools.finetune.dataset import TrainingDataset
from llava_tools.finetune.loss_plot import plot_losses
from llava_tools.finetune.merge import check_names, merge, weight_files
from llava_tools.finetune.options import DEFAULT_MAX_LENGTH, AlignOptions, StageOptions, TuneOptions
from llava_tools.finetune.parameters import select_parameters, weight_updates
from llava_tools.finetune.quantized_base import quantization_config
from llava_tools.finetune.records import Record, read_captions, read_records, split_records
from llava_tools.finetune.sharding import shard
from llava_tools.finetune.trainer import LossModel, Trainer, learning_rate_factor
from llava_tools.options import EngineOptions
from llava_tools.remote.chat_template import write_chat_template

#: What else splits a model in a configuration of `accelerate launch`; none of it is set up here.
_UNSUPPORTED = {DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM}


def run(options: StageOptions, show: Callable[[str], None]) -> float:
    """Run `align` or `tune`, whose extra is installed."""
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise RequestError(f"{options.out} already exists.", "Choose a new folder for out.")
    captions = isinstance(options, AlignOptions)
    all_records = (read_captions if captions else read_records)(options.data, options.images)
    records, held_out = split_records(all_records, options.held_out, options.seed)
    store = CheckpointStore(options.work_folder, options)
    accelerator = Accelerator(cpu=options.device == "cpu")
    if accelerator.distributed_type in _UNSUPPORTED:
        raise RequestError(
            f"Training is not split by {accelerator.distributed_type.value}.",
            "Use --shard, or a configuration of `accelerate launch` with FSDP or with neither.",
        )
    loaded = _load(options, accelerator)
    files = weight_files(loaded)
    max_length = _max_length(loaded.model.config, options)
    dataset, held_out_dataset = (
        TrainingDataset(part, loaded, max_length, captions=captions) for part in (records, held_out)
    )
    truncated = dataset.count_truncated() + held_out_dataset.count_truncated()
    steps = _sample_steps(records, options)
    select_parameters(loaded.model, options)
    model = LossModel(loaded.model)
    millions = sum(weight.numel() for weight in model.parameters() if weight.requires_grad) / 1e6
    is_sharded = accelerator.num_processes > 1 and (
        options.shard or accelerator.distributed_type == DistributedType.FSDP
    )
    if is_sharded:
        if isinstance(options, TuneOptions) and options.method == "qlora":
            raise RequestError("4-bit weights are not split.", "Use --lora, or no FSDP.")
        # So the first layer has a gradient, and sends it at the same time, without an image too.
        loaded.model.enable_input_require_grads()
        layers = loaded.model.model.language_model.layers
        shard(model, layers, accelerator.device.type, accelerator.num_processes)
    updates = weight_updates(loaded.model)
    check_names(files, updates)
    if accelerator.is_main_process:
        method = "projector" if isinstance(options, AlignOptions) else options.method
        show(
            f"{len(all_records)} records, {truncated} of them truncated to {max_length} tokens, "
            f"{len(held_out)} held out; {len(steps)} steps; {millions:.2f} million trainable "
            f"weights ({method}), on {loaded.model.device}"
        )
    trainer = Trainer(model, store, accelerator, options, show, is_sharded=is_sharded)
    metrics = trainer.run(dataset, steps, held_out_dataset)
    last = metrics[-min(20, 1 + len(metrics) // 10) :]
    loss = sum(step.loss for step in last) / len(last)
    merge(files, updates, options.out, writes=accelerator.is_main_process)
    if accelerator.is_main_process:
        _write_report(options, metrics, loss)
        show(
            f"final loss {loss:.4f}; the trained model is in {options.out}; "
            f"{options.work_folder} (for resuming) can be deleted"
        )
    accelerator.wait_for_everyone()
    return loss


def _sample_steps(records: Sequence[Record], options: StageOptions) -> list[MicroBatches]:
    """Return the batches of all steps."""
    steps = sample_batches(
        records, options.epochs, options.batch_size, options.micro_batch_size, options.seed
    )
    if learning_rate_factor(len(steps) - 1, len(steps), options.warmup_ratio) == 0:
        raise RequestError(
            f"{len(records)} records make one step of {options.batch_size}, and the rate begins at "
            "0.",
            "Choose a smaller batch_size, more epochs, or warmup_ratio=0.",
        )
    return steps


def _start(options: StageOptions, accelerator: Accelerator) -> str:
    """Return the model to start from; the first stage makes it, once, in the work folder."""
    if not isinstance(options, AlignOptions):
        return options.model
    parts = (
        options.vision, options.vision_revision, options.model, options.revision, options.seed
    )  # fmt: skip
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
    folder = options.work_folder / f"untrained-{digest}"
    if accelerator.is_main_process and not folder.exists():
        local = options.local_files_only
        vision = resolve(options.vision, options.vision_revision, local)
        language = resolve(options.model, options.revision, local)
        template = write_chat_template(VICUNA_V1)
        compose(vision, language, folder, seed=options.seed, chat_template=template)
    accelerator.wait_for_everyone()
    return str(folder)


def _load(options: StageOptions, accelerator: Accelerator) -> LoadedModel:
    """Load what to train: in float32 where the engine would choose float16."""
    device = pick_device(options.device)
    dtype = pick_dtype(options, device)
    if dtype == torch.float16:
        dtype = torch.float32
    is_4bit = isinstance(options, TuneOptions) and options.method == "qlora"
    config = quantization_config(device, dtype) if is_4bit else None
    model = _start(options, accelerator)
    engine_options = EngineOptions(
        model=model,
        device=options.device,
        dtype="bfloat16" if dtype == torch.bfloat16 else "float32",
        quantization="4bit" if is_4bit else None,
        revision=options.revision if model == options.model else None,
        local_files_only=options.local_files_only,
        # Captions are in no conversation format, but a tokenizer comes with one.
        conversation=options.conversation if isinstance(options, TuneOptions) else "vicuna_v1",
    )
    return load(engine_options, config)


def _max_length(config: Any, options: StageOptions) -> int:
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


def _write_report(options: StageOptions, metrics: Sequence[StepMetrics], loss: float) -> None:
    """Write options, losses and their plot beside the checkpoint."""
    report = {"loss": loss, "options": asdict(options), "steps": [asdict(s) for s in metrics]}
    text = json.dumps(report, default=str, indent=1) + "\n"
    (options.out / "tuning.json").write_text(text, encoding="utf-8")
    curves = {"loss per token": {step.step: step.loss for step in metrics}}
    held_out = {s.step: s.held_out_loss for s in metrics if s.held_out_loss is not None}
    if held_out:
        curves["held-out loss per token"] = held_out
    plot_losses(curves, options.out / "losses.png")
    card = write_card(options, metrics, data_digest(options.data))
    (options.out / "README.md").write_text(card, encoding="utf-8")
