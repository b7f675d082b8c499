"""Options that several commands take: which model runs here, and how."""

from __future__ import annotations

import argparse

from llava_tools.options import EngineKeywords


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add what a model in this process is loaded with, but for its name."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--dtype", default="auto", help="auto, float32, float16, bfloat16")
    parser.add_argument("--quantization", help="8bit or 4bit (CUDA only)")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--offline", action="store_true", help="never ask the network")


def engine(arguments: argparse.Namespace) -> EngineKeywords:
    """Return what was said of them, as keywords of `Llava`."""
    found: EngineKeywords = {
        "device": arguments.device,
        "dtype": arguments.dtype,
        "quantization": arguments.quantization,
        "revision": arguments.revision,
        "local_files_only": arguments.local_files_only,
    }
    return found
