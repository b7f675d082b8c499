"""What every benchmark says about where it ran."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import psutil
import torch


def describe() -> dict[str, str | int | float]:
    """Return hardware and versions, for the JSON line of a benchmark."""
    cpu = platform.processor() or "unknown"
    names = Path("/proc/cpuinfo")
    if names.is_file():
        lines = [line for line in names.read_text().splitlines() if line.startswith("model name")]
        cpu = lines[0].split(":", 1)[1].strip() if lines else cpu
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "cpu": cpu,
        "cores": psutil.cpu_count() or 0,
        "torch_threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": gpu,
        "torch": version("torch"),
        "transformers": version("transformers"),
        "llava_tools": version("llava-tools"),
    }
