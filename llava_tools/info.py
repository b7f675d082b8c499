"""What a model is, and which models this machine can run in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import psutil

from llava_tools import model_cache
from llava_tools.engine import paused_collector
from llava_tools.engine.loading import description, dimensions
from llava_tools.engine.loading.dimensions import TextModel, VisionTower
from llava_tools.engine.loading.inspection import Inspection, inspect, list_files
from llava_tools.engine.loading.refusals import Refusal
from llava_tools.errors import install_command
from llava_tools.options import (
    ALIASES,
    CONTEXT_LENGTHS,
    DEFAULT_CONTEXT_LENGTH,
    TINY_NOTICE,
    Quantization,
)

#: Licence of LLaVA 1.5's weights, shown with their names.
LLAVA_NOTICE = (
    "LLaVA 1.5's weights are under the Llama 2 Community License; its training data was made "
    "partly with ChatGPT and GPT-4, whose terms make it for non-commercial use."
)
#: What the smallest model is good for, and its licence.
SMALL_NOTICE = (
    "'0.5b' is small enough for CPUs and was trained on several images at once; it reads and "
    "reasons less well than '7b'. Its licence allows research, not commercial use."
)
#: What to know about the models with short names.
NOTICES = {"tiny": TINY_NOTICE, "0.5b": SMALL_NOTICE, "7b": LLAVA_NOTICE, "13b": LLAVA_NOTICE}
_LLAMA_2 = "Llama 2 Community License"
_QWEN = "Tongyi Qianwen Research License"

#: Precisions by the names in reports.
_PRECISIONS = {"float32": "float32", "16 bit": "float16", "8bit": "8bit", "4bit": "4bit"}


@dataclass(frozen=True)
class Size:
    """Size of a model.

    Attributes:
        parameters: Number of parameters.
        linear_parameters: Those of the language model's linear layers, which can be quantized.
        kv_bytes: Bytes of the KV of one token in 16 bit.
        context_length: Maximum number of tokens of prompt and answer together.
        licence: Licence of the weights.
    """

    parameters: int
    linear_parameters: int
    kv_bytes: int
    context_length: int
    licence: str

    def bytes_needed(self, precision: str, device_type: str = "cuda") -> int:
        """Return the bytes of the weights and one full context on `cpu`, `cuda` or `mps`."""
        name = _PRECISIONS[precision]
        weights = dimensions.memory(self.parameters, self.linear_parameters, name, device_type)
        return weights + self.kv_bytes * (2 if name == "float32" else 1) * self.context_length


@dataclass(frozen=True)
class Fit:
    """Whether a model runs here in a precision, and if not, the reason."""

    model: str
    precision: str
    bytes_needed: int
    fits: bool
    why_not: str = ""


@dataclass(frozen=True)
class Report:
    """The report of `llava-tools info`.

    Attributes:
        device: Name of the device that models run on.
        free_bytes: Its free memory.
        fits: All models in all precisions.
        downloaded: Models that can be loaded without a network.
        loaded: Models that this process has loaded.
    """

    device: str
    free_bytes: int
    fits: tuple[Fit, ...]
    downloaded: tuple[str, ...]
    loaded: tuple[str, ...]


@dataclass(frozen=True)
class ModelReport:
    """The report of `llava-tools info MODEL`.

    Attributes:
        model: Hub id or folder.
        device: Name of the device that models run on.
        free_bytes: Its free memory.
        refusal: Why the model is not loaded here, and what to use instead; None if it is loaded.
        adapter_base: The model that it is a LoRA of, to which the following belongs.
        conversation: Name of its conversation format; None if that is not known here.
        text: Its language model.
        default_context_length: Tokens of context that it gets without `context_length`.
        vision: Its vision tower and projector.
        parameters: Number of parameters.
        quantization: How its files are quantized: `4bit` or `8bit` by bitsandbytes.
        dtype: Data type of its files, or of what is not quantized in them.
        disk_bytes: Size of its weights' files, those of a base included.
        downloaded: Whether they are on this machine.
        licence: Of the weights; None if its files name none.
        notice: What else to know about a model with a short name.
        warnings: What may go wrong.
        fits: Whether weights and one context of the default length fit, by precision.
    """

    model: str
    device: str
    free_bytes: int
    refusal: Refusal | None
    adapter_base: str | None
    conversation: str | None
    text: TextModel | None
    default_context_length: int | None
    vision: VisionTower | None
    parameters: int | None
    quantization: str | None
    dtype: str | None
    disk_bytes: int
    downloaded: bool
    licence: str | None
    notice: str | None
    warnings: tuple[str, ...]
    fits: tuple[Fit, ...]


def sizes() -> dict[str, Size]:
    """Return the sizes of the known models: as published, and of `tiny` as shipped."""
    lengths = {name: CONTEXT_LENGTHS[source] for name, source in ALIASES.items()}
    folder = Path(str(files("llava_tools") / "tiny"))
    return {
        "tiny": _size(inspect(folder, list_files(folder)), lengths["tiny"], "Apache-2.0"),
        "0.5b": Size(864_031_264, 308_281_344, 98_304, lengths["0.5b"], _QWEN),
        "7b": Size(7_063_427_072, 6_476_005_376, 524_288, lengths["7b"], _LLAMA_2),
        "13b": Size(13_351_494_656, 12_687_769_600, 819_200, lengths["13b"], _LLAMA_2),
    }


def _size(model: Inspection, context_length: int, licence: str) -> Size:
    text = model.text
    assert text is not None
    linear = text.linear_parameters or 0
    return Size(model.parameters or 0, linear, 2 * text.kv_values, context_length, licence)


def report() -> Report:
    """Return the current report. Imports torch if it is installed."""
    with paused_collector():
        device_type, device, free = _device()
    fits = tuple(
        _fit(name, precision, size, device_type, free)
        for name, size in sizes().items()
        for precision in _PRECISIONS
        if name != "tiny" or precision == "float32"
    )
    loaded = tuple(
        f"{backend.model_name} ({getattr(backend, 'device', 'elsewhere')})"
        for backend in model_cache.engines.loaded().values()
    )
    return Report(device, free, fits, _downloaded(), loaded)


def describe(
    model: str, revision: str | None = None, *, local_files_only: bool = False
) -> ModelReport:
    """Return what a model is, from its small files; its weights are neither downloaded nor read.

    Args:
        model: `tiny`, `0.5b`, `7b`, `13b`, a hub id or a folder.
        revision: Branch, tag or commit on the hub.
        local_files_only: Use no network.

    Raises:
        ModelNotFoundError: No such model or revision, or it cannot be reached.
        MissingExtraError: It is on the hub, and huggingface_hub is not installed.
    """
    with paused_collector():  # torch is imported, and transformers for the tokenizer
        device_type, device, free = _device()
        found = description.describe(
            model, revision, device_type, local_files_only=local_files_only
        )
    inspection, text = found.inspection, found.inspection.text
    licences = {ALIASES[name]: size.licence for name, size in sizes().items()}
    notices = {ALIASES[name]: notice for name, notice in NOTICES.items()}
    return ModelReport(
        model=found.name,
        device=device,
        free_bytes=free,
        refusal=found.refusal,
        adapter_base=found.adapter_base,
        conversation=found.conversation,
        text=text,
        default_context_length=None if text is None else _default_length(text),
        vision=inspection.vision,
        parameters=inspection.parameters,
        quantization=inspection.quantization,
        dtype=inspection.dtype,
        disk_bytes=found.disk_bytes,
        downloaded=found.is_downloaded,
        licence=licences.get(found.name, inspection.licence),
        notice=notices.get(found.name),
        warnings=inspection.warnings,
        fits=() if found.refusal else _fits(found.name, inspection, device_type, free),
    )


def _default_length(text: TextModel) -> int:
    return min(text.context_length, DEFAULT_CONTEXT_LENGTH)


def _fits(name: str, inspection: Inspection, device_type: str, free: int) -> tuple[Fit, ...]:
    """Return whether a model fits in each precision with one context of the default length."""
    text = inspection.text
    if text is None or inspection.parameters is None:
        return ()
    length = _default_length(text)
    if inspection.quantization is not None:
        needed = inspection.weight_bytes + 2 * text.kv_values * length
        lacking = None if device_type == "cuda" else "needs a CUDA GPU"
        return (_verdict(name, inspection.quantization, needed, lacking, free),)
    size = _size(inspection, length, "")
    precisions = _PRECISIONS if text.linear_parameters else ("float32", "16 bit")
    return tuple(
        _fit(name, precision, size, device_type, free, text.model_type) for precision in precisions
    )


def _fit(
    name: str, precision: str, size: Size, device_type: str, free: int, text_type: str = "llama"
) -> Fit:
    needed = size.bytes_needed(precision, device_type)
    return _verdict(name, precision, needed, _lacking(precision, device_type, text_type), free)


def _verdict(name: str, precision: str, needed: int, lacking: str | None, free: int) -> Fit:
    if lacking is not None:
        return Fit(name, precision, needed, False, lacking)
    if needed > free:
        return Fit(name, precision, needed, False, f"{(needed - free) / 1e9:.1f} GB short")
    return Fit(name, precision, needed, True)


def _lacking(precision: str, device_type: str, text_type: str) -> str | None:
    """Return why a device does not compute a language model in a precision; None if it does."""
    if precision not in ("8bit", "4bit") or device_type == "cuda":
        return None
    if device_type == "cpu" and find_spec("torch") is not None:
        from llava_tools.engine.decoder import MODEL_TYPES
        from llava_tools.engine.quantized_linear import missing

        if text_type not in MODEL_TYPES:
            return "needs a CUDA GPU"
        lacking = missing(cast(Quantization, precision))
        return None if lacking is None else f"needs a CUDA GPU, or a CPU with {lacking}"
    return "needs a CUDA GPU"


def _device() -> tuple[str, str, int]:
    """Return type, name and free bytes of the device that `auto` picks."""
    free = psutil.virtual_memory().available
    if find_spec("torch") is None:
        return "cpu", f"CPU (torch is not installed: {install_command('torch', 'torch')})", free
    from llava_tools.engine.device import describe

    return describe()


def _downloaded() -> tuple[str, ...]:
    """Return the short names of models whose configuration is in the hub's cache."""
    downloaded = ["tiny"]
    if find_spec("huggingface_hub") is not None:
        from huggingface_hub import try_to_load_from_cache

        downloaded += [
            name
            for name, repository in ALIASES.items()
            if "/" in repository
            and isinstance(try_to_load_from_cache(repository, "config.json"), str)
        ]
    return tuple(downloaded)
