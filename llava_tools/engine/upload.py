"""From the host to the device by copies that nobody waits for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor


def upload(lists: Sequence[Sequence[int]], device: torch.device) -> list[Tensor]:
    """Return lists of numbers as tensors, each long [length of the list]."""
    numbers = torch.tensor([*chain(*lists)], dtype=torch.long)
    return list(to_device(numbers, device).split([len(item) for item in lists]))


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a copy of a tensor on the CPU, or on a CPU the tensor itself.

    On a GPU, which must be the thread's current one, the copy runs in order with the thread's other
    work. torch does not use its pinned memory again before it is done.
    """
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
