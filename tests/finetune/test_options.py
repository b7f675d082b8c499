"""Options of a run: defaults of LLaVA 1.5, and values that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llava_tools.errors import RequestError
from llava_tools.finetune import TuneOptions

DEFAULTS = TuneOptions(model="7b", data=Path("d"), out=Path("o"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "rank=0"),
        ({"batch_size": 1.5}, "batch_size=1.5"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"warmup_ratio": -0.1}, "warmup_ratio=-0.1"),
        ({"method": "half"}, "method='half'"),
        ({"workers": -1}, "workers=-1"),
        ({"held_out": 1.0}, "held_out=1.0"),
        ({"evaluate_every": 0}, "evaluate_every=0"),
        ({"max_length": 8}, "max_length=8"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"dtype": "float16"}, "float16 loses gradients"),
        ({"conversation": "mistral"}, "conversation='mistral'"),
    ],
)
def test_impossible_values_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        replace(DEFAULTS, **change)
    assert message in str(caught.value)


def test_the_model_must_be_named() -> None:
    with pytest.raises(TypeError, match="model"):
        TuneOptions(data=Path("d"), out=Path("o"))  # type: ignore[call-arg]


def test_defaults_are_the_official_ones() -> None:
    assert DEFAULTS.method == "lora"
    assert (DEFAULTS.rank, DEFAULTS.alpha, DEFAULTS.dropout) == (128, 256, 0.05)
    assert DEFAULTS.learning_rates == (2e-4, 2e-5)
    assert (DEFAULTS.epochs, DEFAULTS.batch_size, DEFAULTS.warmup_ratio) == (1, 128, 0.03)
    assert replace(DEFAULTS, method="qlora").learning_rates == (2e-4, 2e-5)
    assert replace(DEFAULTS, method="full").learning_rates == (2e-5, 2e-5)
