"""Whether a model's weights fit into memory, computed before they are downloaded or loaded."""

from __future__ import annotations

import torch

from llava_tools.engine.device import free_bytes, pick_dtype
from llava_tools.engine.loading.inspection import Inspection
from llava_tools.errors import ModelError
from llava_tools.options import EngineOptions


def check_memory(inspection: Inspection, options: EngineOptions, device: torch.device) -> None:
    """Check that weights fit into the free memory of a device.

    A model of unknown size passes. On a CPU that computes in float32 this is the peak: weights that
    are stored in 16 bit are packed afterwards.

    Raises:
        ModelError: They do not; the message has the figures.
    """
    dtype = str(pick_dtype(options, device)).removeprefix("torch.")
    precision = inspection.quantization or options.quantization or dtype
    needed, free = inspection.memory(precision), free_bytes(device)
    if needed is not None and needed > free:
        raise ModelError(
            f"The weights of {inspection.name!r} take {needed / 1e9:.1f} GB in {precision}, and "
            f"{device} has {free / 1e9:.1f} GB of free memory.",
            _alternative(inspection, needed, free, device),
        )


def _alternative(inspection: Inspection, needed: int, free: int, device: torch.device) -> str:
    """Return the option with which the weights fit, if there is one."""
    half = "bfloat16" if device.type == "cpu" else "float16"
    kinds = ("8bit", "4bit") if device.type == "cuda" and inspection.quantization is None else ()
    for option, precision in (("dtype", half), *(("quantization", kind) for kind in kinds)):
        size = inspection.memory(precision)
        if size is not None and size <= free and size < needed:
            return f"Use {option}={precision!r}."
    return "Use a smaller model; `llava-tools info` says what fits."
