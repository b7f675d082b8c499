"""LLaVA 1.5's original layout to the llava-hf layout, which the engine and servers load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llava_tools.chat.formats import VICUNA_V1
from llava_tools.errors import ModelNotFoundError, RequestError, require
from llava_tools.options import CLIP, Dtype

if TYPE_CHECKING:
    from llava_tools.engine.loading.source import Source


@dataclass(frozen=True)
class ConvertOptions:
    """What to convert, and where to.

    Attributes:
        source: Hub id or folder of a checkpoint in the original layout, such as
            `liuhaotian/llava-v1.5-7b`, or of a LoRA that the original code trained.
        out: New folder for the checkpoint in the llava-hf layout.
        clip: Hub id or folder of the CLIP that the vision tower was taken from; None for the one
            that the checkpoint's config.json names.
        base: Hub id or folder of the model that a LoRA was trained on; None for the one that it
            names.
        dtype: Of the weights that are written; `auto` for that of the language model.
        revision: Branch, tag or commit of the checkpoint on the hub.
        clip_revision: That of the CLIP.
        local_files_only: Use no network.

    Raises:
        RequestError: An impossible value.
    """

    source: str
    out: Path
    clip: str | None = None
    base: str | None = None
    dtype: Dtype = "auto"
    revision: str | None = None
    clip_revision: str | None = None
    local_files_only: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in ("auto", "float32", "float16", "bfloat16"):
            raise RequestError(
                f"dtype={self.dtype!r} is not possible.",
                "Use 'auto', 'float32', 'float16' or 'bfloat16'.",
            )


@dataclass(frozen=True)
class Converted:
    """A checkpoint that was written.

    Attributes:
        out: Its folder.
        bytes: Size of its weights.
        dtype: Their data type, such as `float16`.
    """

    out: Path
    bytes: int
    dtype: str


def convert(
    options: ConvertOptions, progress: Callable[[int, int], None] = lambda done, total: None
) -> Converted:
    """Convert a checkpoint. Memory holds 2 GB of weights at a time.

    `progress` is called with the number of weight files that are written, and of all.

    Raises:
        RequestError: `out` cannot be used.
        MissingExtraError: A package of the extra `convert` is not installed.
        ModelNotFoundError: No such checkpoint or CLIP, or it cannot be reached.
        ModelError: The checkpoint is in another layout or of an unsupported kind, its weights are
            not complete, or the disk is too small.
    """
    require("torch", "transformers", extra="convert")
    import torch

    from llava_tools.engine.loading.original import convert as original_layout
    from llava_tools.engine.loading.source import resolve
    from llava_tools.remote.chat_template import write_chat_template  # its package loads pydantic

    out = options.out.expanduser()
    _check_out(out)
    local = options.local_files_only
    original = resolve(options.source, options.revision, local_files_only=local)
    config = original_layout.read_config(original)
    base = _find_base(options, original)
    original_layout.check_disk(base, out)
    clip = _find_clip(options, original.name, str(config["mm_vision_tower"]))
    dtype: torch.dtype | None = None if options.dtype == "auto" else getattr(torch, options.dtype)
    conversion = original_layout.prepare(original, base, clip, dtype)
    original_layout.write(conversion, out, write_chat_template(VICUNA_V1), progress)
    return Converted(out, conversion.bytes, str(conversion.dtype).removeprefix("torch."))


def _find_base(options: ConvertOptions, original: Source) -> Source:
    """Return the checkpoint with the language model: the original one, except for a LoRA."""
    from llava_tools.engine.loading.original import lora
    from llava_tools.engine.loading.source import resolve

    if not lora.is_lora(original):
        if options.base is not None:
            raise RequestError(
                f"base={options.base!r} does not go with {original.name!r}, which is no LoRA.",
                "Leave it out.",
            )
        return original
    base = options.base or lora.base_name(original)
    try:
        return resolve(base, local_files_only=options.local_files_only)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"{original.name!r} is a LoRA of {base!r}, which is not found.",
            f"Name its hub id or folder with base='…'. {error}",
        ) from error


def _find_clip(options: ConvertOptions, name: str, clip: str) -> Source:
    from llava_tools.engine.loading.source import resolve

    local = options.local_files_only
    if options.clip is not None:
        return resolve(options.clip, options.clip_revision, local_files_only=local)
    try:
        return resolve(clip, options.clip_revision, local_files_only=local)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"config.json of {name!r} names the CLIP {clip!r}, which is not found.",
            f"Name its hub id or folder with clip='…', such as {CLIP!r}. {error}",
        ) from error


def _check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(
            f"out={str(out)!r} exists, and is not an empty folder.", "Name a new folder."
        )
