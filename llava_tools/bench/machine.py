"""The hardware and versions that every benchmark reports."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from pathlib import Path

import psutil

from llava_tools import __version__


def describe() -> dict[str, str | int | float]:
    """Return hardware and versions for a JSON line; torch's only if this process has loaded it."""
    machine: dict[str, str | int | float] = {
        "cpu": _cpu(),
        "cores": psutil.cpu_count() or 0,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "llava_tools": __version__,
    }
    if torch := sys.modules.get("torch"):
        machine |= {
            "torch_threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
            "torch": version("torch"),
            "transformers": version("transformers"),
        }
    return machine


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
