"""The learning-rate schedule."""

from __future__ import annotations

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from llava_tools.finetune.trainer import learning_rate_factor


@pytest.mark.parametrize(("steps", "warmup"), [(80, 0.03), (7, 0.2), (10, 0.0), (1, 0.03)])
def test_the_schedule_equals_that_of_the_official_training(steps: int, warmup: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, -int(-steps * warmup // 1), steps)
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate_factor(step, steps, warmup) == pytest.approx(expected)
        optimizer.step()
        schedule.step()
