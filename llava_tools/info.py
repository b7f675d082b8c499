"""What this machine can run: models and precisions against its real free memory."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import psutil

from llava_tools import registry
from llava_tools.options import ALIASES, CONTEXT_LENGTHS

#: Shown wherever LLaVA 1.5's own weights are named.
LLAVA_NOTICE = (
    "LLaVA 1.5's weights are under the Llama 2 Community License; its training data was made "
    "partly with ChatGPT and GPT-4, whose terms make it for non-commercial use."
)

#: Bytes a parameter takes; the quantized ones with their scales and the parts kept in 16 bit.
_PRECISIONS = {"float32": 4.0, "16 bit": 2.0, "8bit": 1.08, "4bit": 0.62}


@dataclass(frozen=True)
class Size:
    """How large a model is.

    Attributes:
        parameters: Their number.
        kv_bytes: KV of one token in 16 bit.
        context: Tokens that prompt and answer may have.
        licence: Of its weights.
    """

    parameters: int
    kv_bytes: int
    context_length: int
    licence: str

    def bytes_needed(self, precision: str) -> int:
        """Return what the weights and one full context take."""
        kv = self.kv_bytes * (2 if precision == "float32" else 1)
        return int(self.parameters * _PRECISIONS[precision] + kv * self.context_length)


@dataclass(frozen=True)
class Fit:
    """Whether a model runs here in a precision, and why not."""

    model: str
    precision: str
    bytes_needed: int
    fits: bool
    why_not: str = ""


@dataclass(frozen=True)
class Report:
    """What `llava-tools info` shows.

    Attributes:
        device: Where a model would run.
        free_bytes: Memory that is free there now.
        fits: Every model in every precision.
        downloaded: Models that load without a network.
        loaded: Models that this process holds.
    """

    device: str
    free_bytes: int
    fits: tuple[Fit, ...]
    downloaded: tuple[str, ...]
    loaded: tuple[str, ...]


def sizes() -> dict[str, Size]:
    """Return the known models; 7B and 13B as published, the embedded one as shipped."""
    weights = Path(str(files("llava_tools") / "tiny" / "model.safetensors"))
    tiny = weights.stat().st_size // 2 if weights.is_file() else 0
    llama = "Llama 2 Community License"
    return {
        "tiny": Size(tiny, 4096, CONTEXT_LENGTHS["tiny"], "Apache-2.0"),
        "7b": Size(7_063_000_000, 524_288, CONTEXT_LENGTHS[ALIASES["7b"]], llama),
        "13b": Size(13_351_000_000, 819_200, CONTEXT_LENGTHS[ALIASES["13b"]], llama),
    }


def report() -> Report:
    """Look at the machine as it is now. Imports torch where it is installed."""
    kind, device, free = _device()
    fits = tuple(
        _fit(name, size, precision, kind, free)
        for name, size in sizes().items()
        for precision in _PRECISIONS
        if name != "tiny" or precision == "float32"
    )
    loaded = tuple(
        f"{backend.model_name} ({getattr(backend, 'device', 'elsewhere')})"
        for backend in registry.engines.loaded().values()
    )
    return Report(device, free, fits, _downloaded(), loaded)


def _fit(name: str, size: Size, precision: str, kind: str, free: int) -> Fit:
    needed = size.bytes_needed(precision)
    if precision in ("8bit", "4bit") and kind != "cuda":
        return Fit(name, precision, needed, False, "needs a CUDA GPU")
    if needed > free:
        return Fit(name, precision, needed, False, f"{(needed - free) / 1e9:.1f} GB short")
    return Fit(name, precision, needed, True)


def _device() -> tuple[str, str, int]:
    """Return kind, name and free bytes of the device that `auto` would pick."""
    free = psutil.virtual_memory().available
    if find_spec("torch") is None:
        return "cpu", "CPU (torch is not installed: pip install 'llava-tools[torch]')", free
    from llava_tools.engine.device import describe

    return describe()


def _downloaded() -> tuple[str, ...]:
    """Return the short names of models whose configuration lies in the hub's cache."""
    there = ["tiny"]
    if find_spec("huggingface_hub") is not None:
        from huggingface_hub import try_to_load_from_cache

        there += [
            name
            for name, repository in ALIASES.items()
            if "/" in repository
            and isinstance(try_to_load_from_cache(repository, "config.json"), str)
        ]
    return tuple(there)
