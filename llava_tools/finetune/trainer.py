"""The steps of a tuning: gradients of a batch summed over its parts and processes, then AdamW.

A step's loss is the mean over all of its learned tokens, however it was cut into micro-batches and
spread over processes. Nothing random outlives a step, so a tuning that was killed goes on exactly.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from accelerate import Accelerator
from torch import nn
from transformers import LlavaForConditionalGeneration

from llava_tools.errors import TrainingError
from llava_tools.finetune.batches import Step
from llava_tools.finetune.checkpoint import Checkpoints, Row
from llava_tools.finetune.dataset import Batch, TrainingDataset
from llava_tools.finetune.options import TuneOptions
from llava_tools.finetune.parameters import optimizer, summed_loss

_CLIP = 1.0
"""Norm that gradients are cut to, as in the official training."""


def share(step: int, steps: int, warmup: float) -> float:
    """Return the part of the peak rate in a step, 0 the first: up in a line, down as a cosine."""
    warm = math.ceil(steps * warmup)
    if step < warm:
        return step / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class Trainer:
    """A model, those of its weights that learn, and where it stands.

    Args:
        model: From `learning.choose`, which gave `learning`, too.
        learning: Parameters by name.
        memory: Where states and losses are kept.
        processes: Of which this is one.
        options: Of the tuning.
    """

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        learning: dict[str, nn.Parameter],
        memory: Checkpoints,
        processes: Accelerator,
        options: TuneOptions,
    ) -> None:
        self._model, self._learning, self._options = model, learning, options
        self._memory, self._processes = memory, processes
        self._optimizer = optimizer(learning, options)
        self._done = 0
        state = memory.recall()
        if state is not None:
            self._done = state["step"]
            self._optimizer.load_state_dict(state["optimizer"])
            with torch.no_grad():
                for name, weight in state["weights"].items():
                    learning[name].copy_(weight)

    def run(self, material: TrainingDataset, steps: Sequence[Step]) -> list[Row]:
        """Make the steps that are left, and return all.

        Raises:
            TrainingError: The loss is no number any more, or memory ran out.
            ImageError: An image cannot be used.
        """
        world, leads = self._processes, self._processes.is_main_process
        rows = self._memory.rows(self._done)
        world.wait_for_everyone()
        if leads:
            self._memory.keep(rows)
        left = steps[self._done :]
        progress = _Progress(self._done, len(steps))
        reading = material.read(
            left, world.process_index, world.num_processes, self._options.workers
        )
        for batches in reading:
            row = self._step(batches, len(steps))
            rows.append(row)
            self._done += 1
            if leads:
                self._memory.add(row)
                progress.tell(row)
                if self._done % self._options.save_every == 0 or self._done == len(steps):
                    self._memory.save(self._done, self._learning, self._optimizer.state_dict())
        world.wait_for_everyone()
        return rows

    def _step(self, batches: Sequence[Batch], steps: int) -> Row:
        """Learn one batch; every process ends with the same weights."""
        part = share(self._done, steps, self._options.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * part
        torch.manual_seed(hash((self._options.seed, self._done, self._processes.process_index)))
        loss = torch.zeros((), dtype=torch.float64)
        try:
            for batch in batches:
                with self._precision():
                    summed = summed_loss(self._model, batch.to(self._model.device))
                summed.backward()
                loss += summed.detach().double().cpu()
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"The memory of {self._model.device} does not hold a micro-batch of "
                f"{self._options.micro_batch}.",
                "Go on with a smaller micro_batch; what is learned stays the same.",
            ) from error
        tokens = sum(batch.learned for batch in batches)
        mean, tokens = self._gather(float(loss), tokens)
        if not math.isfinite(mean):
            raise TrainingError(
                f"The loss of step {self._done + 1} is {mean}.",
                "Choose a lower rate; the last saved step is kept.",
            )
        nn.utils.clip_grad_norm_(self._learning.values(), _CLIP)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return Row(self._done + 1, mean, tokens, self._options.rates[0] * part)

    def _gather(self, loss: float, tokens: int) -> tuple[float, int]:
        """Make gradients those of the mean over all processes, and return that and its tokens."""
        world = self._processes
        figures = torch.tensor([loss, float(tokens)], device=self._model.device)
        summed: list[float] = world.reduce(figures, "sum").tolist()
        for parameter in self._learning.values():
            if parameter.grad is None:  # no image, or no micro-batch for this process
                parameter.grad = torch.zeros_like(parameter)
            if world.num_processes > 1:
                parameter.grad = world.reduce(parameter.grad, "sum")
            parameter.grad.div_(summed[1])
        return summed[0] / summed[1], int(summed[1])

    def _precision(self) -> AbstractContextManager[None]:
        """Compute in the dtype of the weights that do not learn."""
        kept = next(p.dtype for p in self._model.parameters() if not p.requires_grad)
        return torch.autocast(
            self._model.device.type, torch.bfloat16, enabled=kept == torch.bfloat16
        )


class _Progress:
    """Lines on stderr, one a second at most: step, loss, rate, and the time left."""

    def __init__(self, done: int, steps: int) -> None:
        self._before, self._steps = done, steps
        self._began = time.monotonic()
        self._told = -math.inf

    def tell(self, row: Row) -> None:
        now = time.monotonic()
        if now - self._told < 1 and row.step < self._steps:
            return
        self._told = now
        each = (now - self._began) / (row.step - self._before)
        left = round(each * (self._steps - row.step))
        sys.stderr.write(
            f"step {row.step}/{self._steps}  loss {row.loss:.4f}  rate {row.rate:.2e}  "
            f"{each:.2f} s/step  left {left // 3600}:{left % 3600 // 60:02}:{left % 60:02}\n"
        )
        sys.stderr.flush()
