"""Processes of one thread each that train copies of a model and meet to average them.

At this model's size two threads in one process are hardly faster than one; two processes that
average their weights every few steps (local SGD) use both cores.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, distributed


class Team:
    """This process's place in a team; alone unless :meth:`join` was called."""

    def __init__(self, rank: int = 0, size: int = 1, every: int = 10) -> None:
        self.rank, self.size, self.every = rank, size, every

    @classmethod
    def join(cls, meeting: Path, rank: int, size: int) -> Team:
        """Wait until all ``size`` processes have come to the (fresh) file ``meeting``."""
        if size > 1:
            distributed.init_process_group(
                "gloo", init_method=f"file://{meeting.resolve()}", rank=rank, world_size=size
            )
        return cls(rank, size)

    @property
    def leads(self) -> bool:
        """Whether this process writes checkpoints and progress for all."""
        return self.rank == 0

    @torch.no_grad()
    def meet(self, step: int, weights: Iterable[Tensor], done: float) -> float:
        """Average the weights where it is time to, and agree on how much is done.

        Between meetings the answer stays below 1, so that nobody leaves alone.
        """
        if self.size == 1:
            return done
        if step % self.every:
            return min(done, 0.999)
        agreed = torch.tensor([done])
        distributed.all_reduce(agreed, op=distributed.ReduceOp.MAX)
        tensors = list(weights)
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, mean in zip(
            tensors, (flat / self.size).split([t.numel() for t in tensors]), strict=True
        ):
            tensor.copy_(mean.view_as(tensor))
        return float(agreed)
