"""The training loop: gradients summed over micro-batches and processes, then a step of AdamW.

The loss of a step is the mean over all target tokens of its batch, however the batch is split into
micro-batches and processes. Random state is seeded per step, so a resumed run continues exactly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
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
from llava_tools.finetune.sharding import assign, gather, load_optimizer_state, optimizer_state


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Return the fraction of the peak rate at a step, counted from 0: linear, then cosine."""
    warmup_steps = math.ceil(steps * warmup)
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))


class LossModel(nn.Module):
    """A model whose forward pass returns the loss of a batch.

    That is the cross entropy summed over all target tokens, in nats. Logits are computed at target
    tokens only; those of all tokens would be the largest tensor.
    """

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Return the summed loss."""
        model = self.model
        states = model.model(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            pixel_values=batch.pixels,
            use_cache=False,
        ).last_hidden_state
        labels = batch.labels[:, 1:]
        targets = labels != IGNORED
        logits = model.lm_head(states[:, :-1][targets])
        loss = cross_entropy(logits.float(), labels[targets], reduction="sum")
        if batch.pixels is None:  # gradients of 0, as all processes have to have the same ones
            projector = model.model.multi_modal_projector.parameters()
            loss = loss + 0.0 * sum(weight.sum() for weight in projector)
        return loss


class Trainer:
    """Trains a model; resumes from the store's state, if any.

    Args:
        model: Prepared by `select_parameters`, and by `sharding.shard` if it is split.
        store: Keeps the state.
        accelerator: Connects the processes.
        options: Of the run.
        show: Gets the lines of progress.
        is_sharded: Whether the model is split between the processes.
    """

    def __init__(
        self,
        model: LossModel,
        store: CheckpointStore,
        accelerator: Accelerator,
        options: StageOptions,
        show: Callable[[str], None],
        *,
        is_sharded: bool = False,
    ) -> None:
        self._model, self._options, self._is_sharded = model, options, is_sharded
        self._show = show
        self._store, self._accelerator = store, accelerator
        self._device = accelerator.device
        named = model.model.named_parameters()
        self._parameters = {name: p for name, p in named if p.requires_grad}
        self._optimizer = make_optimizer(self._parameters, options)
        frozen_dtype = next(p.dtype for p in model.parameters() if not p.requires_grad)
        self._autocast = frozen_dtype == torch.bfloat16
        self._finished = 0
        state = store.load()
        if state is not None:
            self._finished = state["step"]
            load_optimizer_state(model, self._optimizer, state["optimizer"])
            for name, weight in state["weights"].items():
                assign(self._parameters[name], weight)

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
        for batches in self._load(dataset, steps[self._finished :]):
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
                if now - last_log >= 1 or is_last or finished.held_out_loss is not None:
                    last_log = now
                    seconds = (now - start) / (self._finished - first)
                    self._show(_progress(finished, len(steps), seconds))
            if self._finished % self._options.save_every == 0 or is_last:
                self._save()
        log.close()
        accelerator.wait_for_everyone()
        return metrics

    def _save(self) -> None:
        # One after another to the CPU: a device may hold no more than its share of them.
        weights = {name: gather(weight).detach().cpu() for name, weight in self._parameters.items()}
        optimizer = optimizer_state(self._model, self._optimizer)
        if self._accelerator.is_main_process:
            self._store.save(self._finished, weights, optimizer)

    def _held_out_batches(self, held_out: TrainingDataset) -> list[TrainingBatch]:
        """Return this process's part of the held-out records; they stay in memory."""
        size = self._options.micro_batch_size
        indices = range(len(held_out))
        step = [list(indices[start : start + size]) for start in range(0, len(indices), size)]
        (batches,) = self._load(held_out, [step])
        return batches

    def _load(
        self, dataset: TrainingDataset, steps: Sequence[MicroBatches]
    ) -> Iterator[list[TrainingBatch]]:
        """Yield this process's part of each step."""
        return dataset.load_batches(
            steps,
            self._accelerator.process_index,
            self._accelerator.num_processes,
            self._options.workers,
            even=self._is_sharded,
        )

    def _evaluate(self, batches: Sequence[TrainingBatch]) -> float:
        """Return the mean loss of the held-out records over all processes."""
        self._model.eval()
        with torch.no_grad():
            losses = [self._loss(batch).item() for batch in batches]
        self._model.train()
        tokens = sum(batch.target_tokens for batch in batches)
        total, count = self._sum_over_processes(sum(losses), tokens)
        return total / count

    def _loss(self, batch: TrainingBatch) -> Tensor:
        """Return the loss of a batch, summed over its target tokens."""
        # No cache: it would hold trained weights in 16 bit, too, and each is used once.
        with torch.autocast(
            self._device.type, torch.bfloat16, enabled=self._autocast, cache_enabled=False
        ):
            loss: Tensor = self._model(send_to_device(batch, self._device))
            return loss

    def _step(self, batches: Sequence[TrainingBatch], steps: int) -> StepMetrics:
        """Train on this process's part of a batch; all processes end with the same weights."""
        factor = learning_rate_factor(self._finished, steps, self._options.warmup_ratio)
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        process = self._accelerator.process_index
        torch.manual_seed(hash((self._options.seed, self._finished, process)))
        summed = 0.0
        try:
            for batch in batches:
                loss = self._loss(batch)
                loss.backward()
                summed += loss.item()
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"The memory of {self._device} does not hold a micro-batch of "
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
        total_loss, total_tokens = self._sum_over_processes(loss, tokens)
        for parameter in self._parameters.values():
            if parameter.grad is None:  # no image, or no micro-batch for this process
                parameter.grad = torch.zeros_like(parameter)
            if self._accelerator.num_processes > 1 and not self._is_sharded:
                parameter.grad = self._accelerator.reduce(parameter.grad, "sum")
            parameter.grad.div_(total_tokens)
        return total_loss / total_tokens, total_tokens

    def _sum_over_processes(self, loss: float, tokens: int) -> tuple[float, int]:
        sums = torch.tensor([loss, float(tokens)], dtype=torch.float64, device=self._device)
        total_loss, total_tokens = self._accelerator.reduce(sums, "sum").tolist()
        return total_loss, int(total_tokens)


def _progress(metrics: StepMetrics, steps: int, seconds: float) -> str:
    """Return a line of progress; `seconds` is the mean duration of a step."""
    left = round(seconds * (steps - metrics.step))
    held_out = metrics.held_out_loss
    evaluation = "" if held_out is None else f"  held out {held_out:.4f}"
    return (
        f"step {metrics.step}/{steps}  loss {metrics.loss:.4f}{evaluation}  "
        f"rate {metrics.learning_rate:.2e}  {seconds:.2f} s/step  "
        f"left {left // 3600}:{left % 3600 // 60:02}:{left % 60:02}"
    )
