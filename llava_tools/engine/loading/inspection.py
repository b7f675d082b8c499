"""What a checkpoint is, read from its small files before any weights are downloaded or loaded.

`inspect` takes a folder that holds the JSON files and the names and sizes of all files, and returns
an `Inspection`. Nothing here imports torch or transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_tools.engine.loading.refusals import Refusal


@dataclass(frozen=True)
class TextModel:
    """The language model, as config.json describes it.

    Attributes:
        model_type: Of transformers: `llama`, `qwen2`, ...
        context_length: Tokens that it was built for.
        vocab_size: Number of its token ids.
        kv_values: Numbers in the KV of one token; times the bytes of a number, its size.
    """

    model_type: str
    context_length: int
    vocab_size: int
    kv_values: int


@dataclass(frozen=True)
class VisionTower:
    """The vision tower, as config.json describes it.

    Attributes:
        model_type: Of transformers: `clip_vision_model`, `siglip_vision_model`.
        image_size: Side of its square input in pixels.
        image_tokens: Tokens that an image takes in the language model.
        feature_layers: Layers whose features are used, counted as in config.json.
        select_strategy: `default` drops the first feature of each layer, `full` keeps all.
    """

    model_type: str
    image_size: int
    image_tokens: int
    feature_layers: tuple[int, ...]
    select_strategy: str


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint is.

    Attributes:
        name: Of the model, as messages show it.
        config: config.json; empty if there is none.
        model_type: `llava`, or another of transformers; empty if there is none.
        text: The language model, if it is of a known kind.
        vision: The vision tower, if it is of a known kind.
        dtype: Data type of the weights in the files, such as `float16`.
        quantization: How the weights are quantized: `4bit` or `8bit` for bitsandbytes, another name
            for other methods, None for plain weights.
        adapter_base: The base model of a PEFT adapter, which adapter_config.json names.
        parameters: Number of parameters.
        weight_files: Files to load the weights from.
        weight_bytes: Their size.
        licence: From README.md or LICENSE, if they are at hand.
        warnings: Faults that do not prevent loading, one sentence each.
        refusal: Why the model is not loaded on any device.
    """

    name: str
    config: Mapping[str, Any]
    model_type: str
    text: TextModel | None
    vision: VisionTower | None
    dtype: str | None
    quantization: str | None
    adapter_base: str | None
    parameters: int | None
    weight_files: tuple[str, ...]
    weight_bytes: int
    licence: str | None
    warnings: tuple[str, ...]
    refusal: Refusal | None

    def require(self, device_type: str) -> None:
        """Check that the model can be loaded on a device: `cpu`, `cuda` or `mps`.

        Raises:
            ModelNotFoundError: There is no model.
            ModelError: It is not a LLaVA 1.5 in a format that this device can load.
        """
        raise NotImplementedError


def inspect(folder: Path, files: Mapping[str, int], name: str | None = None) -> Inspection:
    """Inspect a checkpoint without loading weights.

    Args:
        folder: Holds its JSON files, and README.md if the licence is wanted.
        files: Names and sizes of all files of the repository or folder, with `/` in paths.
        name: Of the model in messages; by default the folder.
    """
    raise NotImplementedError


def inspect_file(path: Path) -> Refusal:
    """Return why a file, rather than a folder, is not loaded: GGUF, single weights."""
    raise NotImplementedError


def list_files(folder: Path) -> dict[str, int]:
    """Return the names and sizes of the files of a folder, for `inspect`."""
    raise NotImplementedError
