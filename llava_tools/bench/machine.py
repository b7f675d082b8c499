"""What every benchmark says about where it ran."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from pathlib import Path

import psutil

from llava_tools import __version__


def describe() -> dict[str, str | int | float]:
    """Return hardware and versions for a JSON line; torch's only where this process loaded it."""
    found: dict[str, str | int | float] = {
        "cpu": _cpu(),
        "cores": psutil.cpu_count() or 0,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "llava_tools": __version__,
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found |= {
            "torch_threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
            "torch": version("torch"),
            "transformers": version("transformers"),
        }
    return found


def _cpu() -> str:
    names = Path("/proc/cpuinfo")
    if names.is_file():
        for line in names.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
