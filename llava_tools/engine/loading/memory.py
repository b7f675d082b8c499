"""Whether a model's weights fit into memory, computed before they are downloaded or loaded."""

from __future__ import annotations

import torch

from llava_tools.engine.device import free_bytes, pick_dtype
from llava_tools.engine.loading.inspection import Inspection
from llava_tools.errors import ModelError
from llava_tools.options import QUANTIZED_BYTES, EngineOptions


def check_memory(inspection: Inspection, options: EngineOptions, device: torch.device) -> None:
    """Check that weights fit into the free memory of a device.

    A model of unknown size passes. On a CPU that computes in float32 this is the peak: weights that
    are stored in 16 bit are packed afterwards.

    Raises:
        ModelError: They do not; the message has the figures.
    """
    dtype, parameters = pick_dtype(options, device), inspection.parameters
    precision = options.quantization or str(dtype).removeprefix("torch.")
    if inspection.quantization:
        needed, precision = float(inspection.weight_bytes), inspection.quantization
    elif parameters is None:
        return
    elif options.quantization:
        needed = parameters * QUANTIZED_BYTES[options.quantization]
    else:
        needed = float(parameters * dtype.itemsize)
    free = free_bytes(device)
    if needed > free:
        raise ModelError(
            f"The weights of {inspection.name!r} take {needed / 1e9:.1f} GB in {precision}, and "
            f"{device} has {free / 1e9:.1f} GB of free memory.",
            _alternative(parameters, needed, free, device),
        )


def _alternative(parameters: int | None, needed: float, free: int, device: torch.device) -> str:
    """Return the option with which the weights fit, if there is one."""
    if parameters is not None and 2 * parameters <= free < needed:
        return f"Use dtype={'bfloat16' if device.type == 'cpu' else 'float16'!r}."
    for kind, size in QUANTIZED_BYTES.items():
        if device.type == "cuda" and parameters is not None and parameters * size <= free:
            return f"Use quantization={kind!r}."
    return "Use a smaller model; `llava-tools info` says what fits."
