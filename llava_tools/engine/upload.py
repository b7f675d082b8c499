"""Numbers from the host to the device, many lists in one copy that nobody waits for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor


def upload(lists: Sequence[Sequence[int]], device: torch.device) -> list[Tensor]:
    """Return lists of numbers as tensors, each long [length of the list].

    On a GPU they share one copy, which runs in order with the thread's other work. torch does not
    use its pinned memory again before the copy is done.
    """
    numbers = torch.tensor([*chain(*lists)], dtype=torch.long)
    if device.type == "cuda":
        numbers = numbers.pin_memory()
    return list(numbers.to(device, non_blocking=True).split([len(item) for item in lists]))
