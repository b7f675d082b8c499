"""`llava-tools convert`: LLaVA 1.5's original layout to the llava-hf layout."""

from __future__ import annotations

import argparse
from typing import Any

from llava_tools.cli.options import LOAD_HELP, add_command, add_flags, get_flags
from llava_tools.cli.output import write, write_note
from llava_tools.conversion import ConvertOptions, convert


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    parser = add_command(
        commands,
        "convert",
        _convert,
        "convert a LLaVA in the layout of its authors",
        (
            "convert liuhaotian/llava-v1.5-7b --out llava-v1.5-7b",
            "convert my-llava/ --out my-llava-hf/ --clip openai/clip-vit-large-patch14-336",
            "convert my-lora/ --out my-llava-hf/ --base lmsys/vicuna-7b-v1.5",
        ),
        "Convert a LLaVA 1.5 from the layout of its authors, and of models trained with their "
        "code, to the llava-hf layout, which this package, transformers and vLLM load.",
    )
    parser.add_argument("source", help="hub id or folder of the checkpoint")
    add_flags(
        parser,
        ConvertOptions,
        out="new folder for the converted checkpoint",
        clip="hub id or folder of its CLIP, if not the one that its config.json names",
        base="of a LoRA: hub id or folder of the model it was trained on, if not the one it names",
        dtype="of the weights to write: auto (as they are), float32, float16 or bfloat16",
        revision=LOAD_HELP["revision"],
        clip_revision="that of the CLIP",
        local_files_only=LOAD_HELP["local_files_only"],
    )


def _convert(arguments: argparse.Namespace) -> int:
    def show(done: int, total: int) -> None:
        write_note(f"{done} of {total} weight files written")

    converted = convert(ConvertOptions(**get_flags(arguments, ConvertOptions)), show)
    size = f"{converted.bytes / 1e9:.1f} GB" if converted.bytes > 1e8 else "less than 0.1 GB"
    write(f"{converted.out}: {size}, {converted.dtype}")
    return 0
