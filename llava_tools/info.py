"""Which models this machine can run in which precision, from its free memory."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import psutil

from llava_tools import model_cache
from llava_tools.errors import install_command
from llava_tools.options import ALIASES, CONTEXT_LENGTHS, QUANTIZED_BYTES

#: Licence of LLaVA 1.5's weights, shown with their names.
LLAVA_NOTICE = (
    "LLaVA 1.5's weights are under the Llama 2 Community License; its training data was made "
    "partly with ChatGPT and GPT-4, whose terms make it for non-commercial use."
)

#: Bytes of a parameter.
_PRECISIONS = {"float32": 4.0, "16 bit": 2.0, **QUANTIZED_BYTES}


@dataclass(frozen=True)
class Size:
    """Size of a model.

    Attributes:
        parameters: Number of parameters.
        kv_bytes: Bytes of the KV of one token in 16 bit.
        context_length: Maximum number of tokens of prompt and answer together.
        licence: Licence of the weights.
    """

    parameters: int
    kv_bytes: int
    context_length: int
    licence: str

    def bytes_needed(self, precision: str) -> int:
        """Return the bytes of the weights and one full context."""
        kv = self.kv_bytes * (2 if precision == "float32" else 1)
        return int(self.parameters * _PRECISIONS[precision] + kv * self.context_length)


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


def sizes() -> dict[str, Size]:
    """Return the sizes of the known models: LLaVA 1.5 as published, `tiny` as shipped."""
    weights = Path(str(files("llava_tools") / "tiny" / "model.safetensors"))
    tiny = weights.stat().st_size // 2 if weights.is_file() else 0
    llama = "Llama 2 Community License"
    return {
        "tiny": Size(tiny, 4096, CONTEXT_LENGTHS["tiny"], "Apache-2.0"),
        "7b": Size(7_063_000_000, 524_288, CONTEXT_LENGTHS[ALIASES["7b"]], llama),
        "13b": Size(13_351_000_000, 819_200, CONTEXT_LENGTHS[ALIASES["13b"]], llama),
    }


def report() -> Report:
    """Return the current report. Imports torch if it is installed."""
    device_type, device, free = _device()
    fits = tuple(
        _fit(name, size, precision, device_type, free)
        for name, size in sizes().items()
        for precision in _PRECISIONS
        if name != "tiny" or precision == "float32"
    )
    loaded = tuple(
        f"{backend.model_name} ({getattr(backend, 'device', 'elsewhere')})"
        for backend in model_cache.engines.loaded().values()
    )
    return Report(device, free, fits, _downloaded(), loaded)


def _fit(name: str, size: Size, precision: str, device_type: str, free: int) -> Fit:
    needed = size.bytes_needed(precision)
    if precision in ("8bit", "4bit") and device_type != "cuda":
        return Fit(name, precision, needed, False, "needs a CUDA GPU")
    if needed > free:
        return Fit(name, precision, needed, False, f"{(needed - free) / 1e9:.1f} GB short")
    return Fit(name, precision, needed, True)


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
