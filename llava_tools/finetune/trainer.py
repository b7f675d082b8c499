"""The training loop: gradients summed over micro-batches and processes, then a step of AdamW.

The loss of a step is the mean over all target tokens of its batch, however the batch is split into
micro-batches and processes. Random state is seeded per step, so a resumed run continues exactly.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration

from llava_tools.errors import TrainingError
from llava_tools.finetune.batch_sampler import MicroBatches
from llava_tools.finetune.checkpoint import CheckpointStore, StepMetrics
from llava_tools.finetune.dataset import IGNORED, TrainingBatch, TrainingDataset
from llava_tools.finetune.metrics_log import MetricsLog
from llava_tools.finetune.options import StageOptions
from llava_tools.finetune.parameters import make_optimizer


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Return the fraction of the peak rate at a step, counted from 0: linear, then cosine."""
    warmup_steps = math.ceil(steps * warmup)
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))


def summed_loss(model: LlavaForConditionalGeneration, batch: TrainingBatch) -> Tensor:
    """Return the cross entropy summed over all target tokens, in nats.

    Computes logits at target tokens only; those of all tokens would be the largest tensor.
    """
    states = model.model(
        input_ids=batch.ids, attention_mask=batch.mask, pixel_values=batch.pixels, use_cache=False
    ).last_hidden_state
    labels = batch.labels[:, 1:]
    targets = labels != IGNORED
    logits = model.lm_head(states[:, :-1][targets])
    return cross_entropy(logits.float(), labels[targets], reduction="sum")


class Trainer:
    """Trains a model that `select_parameters` prepared; resumes from the store's state, if any."""

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        parameters: dict[str, nn.Parameter],
        store: CheckpointStore,
        accelerator: Accelerator,
        options: StageOptions,
    ) -> None:
        self._model, self._parameters, self._options = model, parameters, options
        self._store, self._accelerator = store, accelerator
        self._optimizer = make_optimizer(parameters, options)
        frozen_dtype = next(p.dtype for p in model.parameters() if not p.requires_grad)
        self._autocast = frozen_dtype == torch.bfloat16
        self._finished = 0
        state = store.load()
        if state is not None:
            self._finished = state["step"]
            self._optimizer.load_state_dict(state["optimizer"])
            with torch.no_grad():
                for name, weight in state["weights"].items():
                    parameters[name].copy_(weight)

    def run(
        self,
        dataset: TrainingDataset,
        steps: Sequence[MicroBatches],
        held_out: TrainingDataset,
    ) -> list[StepMetrics]:
        """Run the remaining steps, and return the metrics of all.

        Args:
            dataset: Of the records to train on.
            steps: Their batches.
            held_out: Of the records to evaluate; may have none.

        Raises:
            TrainingError: The loss is not finite, or memory ran out.
            ImageError: An image cannot be used.
        """
        accelerator = self._accelerator
        metrics = self._store.read_metrics(self._finished)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            self._store.write_metrics(metrics)
        evaluation = self._held_out_batches(held_out)
        folder = self._options.work_folder / "tensorboard" if self._options.tensorboard else None
        log = MetricsLog(folder if accelerator.is_main_process else None, self._finished)
        start, first, last_log = time.monotonic(), self._finished, -math.inf
        remaining = dataset.load_batches(
            steps[self._finished :],
            accelerator.process_index,
            accelerator.num_processes,
            self._options.workers,
        )
        for batches in remaining:
            finished = self._step(batches, len(steps))
            self._finished += 1
            is_last = self._finished == len(steps)
            if len(held_out) and (is_last or self._finished % self._options.evaluate_every == 0):
                finished = replace(finished, held_out_loss=self._evaluate(evaluation))
            metrics.append(finished)
            if accelerator.is_main_process:
                self._store.append_metrics(finished)
                log.write(finished)
                now = time.monotonic()
                if now - last_log >= 1 or is_last:
                    last_log = now
                    _log(metrics[-1], len(steps), (now - start) / (self._finished - first))
                if self._finished % self._options.save_every == 0 or is_last:
                    self._store.save(self._finished, self._parameters, self._optimizer.state_dict())
        log.close()
        accelerator.wait_for_everyone()
        return metrics

    def _held_out_batches(self, held_out: TrainingDataset) -> list[TrainingBatch]:
        """Return this process's part of the held-out records; they stay in memory."""
        size, process = self._options.micro_batch_size, self._accelerator.process_index
        indices = list(range(len(held_out)))[process :: self._accelerator.num_processes]
        steps = [[indices[start : start + size]] for start in range(0, len(indices), size)]
        loaded = held_out.load_batches(steps, 0, 1, self._options.workers)
        return [batch for batches in loaded for batch in batches]

    def _evaluate(self, batches: Sequence[TrainingBatch]) -> float:
        """Return the mean loss of the held-out records over all processes."""
        model = self._model
        sums = torch.zeros(2, device=model.device)
        model.eval()
        with torch.no_grad():
            for batch in batches:
                with torch.autocast(model.device.type, torch.bfloat16, enabled=self._autocast):
                    loss = summed_loss(model, send_to_device(batch, model.device))
                sums += torch.tensor([loss.item(), float(batch.target_tokens)], device=model.device)
        model.train()
        total, tokens = self._accelerator.reduce(sums, "sum").tolist()
        return float(total / tokens)

    def _step(self, batches: Sequence[TrainingBatch], steps: int) -> StepMetrics:
        """Train on this process's part of a batch; all processes end with the same weights."""
        factor = learning_rate_factor(self._finished, steps, self._options.warmup_ratio)
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        process = self._accelerator.process_index
        torch.manual_seed(hash((self._options.seed, self._finished, process)))
        device = self._model.device
        summed = 0.0
        try:
            for batch in batches:
                with torch.autocast(device.type, torch.bfloat16, enabled=self._autocast):
                    loss = summed_loss(self._model, send_to_device(batch, device))
                loss.backward()
                summed += loss.item()
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"The memory of {device} does not hold a micro-batch of "
                f"{self._options.micro_batch_size}.",
                "Resume with a smaller micro_batch_size; the result stays the same.",
            ) from error
        mean, tokens = self._reduce(summed, sum(batch.target_tokens for batch in batches))
        if not math.isfinite(mean):
            raise TrainingError(
                f"The loss of step {self._finished + 1} is {mean}.",
                "Start again with a lower learning_rate and a new work folder.",
            )
        nn.utils.clip_grad_norm_(self._parameters.values(), 1.0)  # as in the official training
        self._optimizer.step()
        self._optimizer.zero_grad()
        return StepMetrics(
            self._finished + 1, mean, tokens, max(self._options.learning_rates) * factor
        )

    def _reduce(self, loss: float, tokens: int) -> tuple[float, int]:
        """Turn summed gradients into those of the mean loss over all processes.

        Return that loss and its number of target tokens.
        """
        accelerator = self._accelerator
        sums = torch.tensor([loss, float(tokens)], device=self._model.device)
        total_loss, total_tokens = accelerator.reduce(sums, "sum").tolist()
        for parameter in self._parameters.values():
            if parameter.grad is None:  # no image, or no micro-batch for this process
                parameter.grad = torch.zeros_like(parameter)
            if accelerator.num_processes > 1:
                parameter.grad = accelerator.reduce(parameter.grad, "sum")
            parameter.grad.div_(total_tokens)
        return total_loss / total_tokens, int(total_tokens)


def _log(metrics: StepMetrics, steps: int, seconds: float) -> None:
    """Write a line to stderr; `seconds` is the mean duration of a step."""
    left = round(seconds * (steps - metrics.step))
    held_out = metrics.held_out_loss
    evaluation = "" if held_out is None else f"  held out {held_out:.4f}"
    sys.stderr.write(
        f"step {metrics.step}/{steps}  loss {metrics.loss:.4f}{evaluation}  "
        f"rate {metrics.learning_rate:.2e}  {seconds:.2f} s/step  "
        f"left {left // 3600}:{left % 3600 // 60:02}:{left % 60:02}\n"
    )
