"""Whether a model's weights fit into memory, computed before they are downloaded or loaded."""

from __future__ import annotations

import torch

from llava_tools.engine.decoder import MODEL_TYPES
from llava_tools.engine.device import free_bytes, pick_dtype
from llava_tools.engine.loading.dimensions import TextModel
from llava_tools.engine.loading.inspection import Inspection
from llava_tools.engine.quantized_linear import missing
from llava_tools.errors import ModelError
from llava_tools.options import EngineOptions, Quantization

_KINDS: tuple[Quantization, ...] = ("8bit", "4bit")


def check_memory(inspection: Inspection, options: EngineOptions, device: torch.device) -> None:
    """Check that weights fit into the free memory of a device.

    A model of unknown size passes. On a CPU that computes in float32 this is the peak: weights that
    are stored in 16 bit are packed afterwards. Those that are quantized on a CPU stay in the mapped
    file, which takes no memory for itself, until their layer's turn.

    Raises:
        ModelError: They do not; the message has the figures.
    """
    dtype = str(pick_dtype(options, device)).removeprefix("torch.")
    precision = inspection.quantization or options.quantization or dtype
    needed, free = inspection.memory(precision, device.type, dtype), free_bytes(device)
    if needed is not None and needed > free:
        raise ModelError(
            f"The weights of {inspection.name!r} take {needed / 1e9:.1f} GB in {precision}, and "
            f"{device} has {free / 1e9:.1f} GB of free memory.",
            _alternative(inspection, needed, free, device, dtype),
        )


def _alternative(
    inspection: Inspection, needed: int, free: int, device: torch.device, dtype: str
) -> str:
    """Return the option with which the weights fit, if there is one."""
    half = "bfloat16" if device.type == "cpu" else "float16"
    kinds = quantizations(device, inspection.text) if inspection.quantization is None else ()
    for option, precision in (("dtype", half), *(("quantization", kind) for kind in kinds)):
        size = inspection.memory(precision, device.type, dtype)
        if size is not None and size <= free and size < needed:
            return f"Use {option}={precision!r}."
    return "Use a smaller model; `llava-tools info` says what fits."


def quantizations(device: torch.device, text: TextModel | None) -> tuple[Quantization, ...]:
    """Return in what a device can quantize a language model."""
    if device.type == "cuda":
        return _KINDS
    if device.type == "cpu" and text is not None and text.model_type in MODEL_TYPES:
        return tuple(kind for kind in _KINDS if missing(kind) is None)
    return ()
