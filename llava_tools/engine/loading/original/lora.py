"""A LoRA of LLaVA's original code: what it adds to the weights of the model that it was trained on.

Its folder holds PEFT's files, config.json of the whole model, and in `non_lora_trainables.bin` the
projector. The language model is another checkpoint, in the original layout or Vicuna itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from llava_tools.engine.loading.checkpoint_files import ADAPTER_FILES, WeightFiles
from llava_tools.engine.loading.json_file import read_object
from llava_tools.engine.loading.mapped_weights import map_weights
from llava_tools.engine.loading.source import Source
from llava_tools.errors import ModelError

CONFIG, TRAINED = "adapter_config.json", "non_lora_trainables.bin"
_PREFIX = "base_model.model."
#: Fields of PEFT's configuration with which updates are more than a product of two matrices.
_UNSUPPORTED = (
    "use_dora", "fan_in_fan_out", "modules_to_save", "rank_pattern", "alpha_pattern",
    "target_parameters", "layer_replication",
)  # fmt: skip
_MERGE = "Merge it with merge_lora_weights.py of the LLaVA repository, and convert the result."


@dataclass(frozen=True)
class Update:
    """A product that is added to a matrix [rows, columns].

    Attributes:
        up: [rows, rank].
        down: [rank, columns].
        scale: Factor of the product.
    """

    up: torch.Tensor
    down: torch.Tensor
    scale: float

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the updated matrix in its own dtype; computed in float32."""
        product = self.up.float() @ self.down.float()
        return weight.float().add_(product, alpha=self.scale).to(weight.dtype)


@dataclass(frozen=True)
class Lora:
    """What a LoRA changes, by the original layout's names of weights.

    Attributes:
        trained: Weights that replace those of the base model, or are missing in it.
        updates: Updates of its other weights.
    """

    trained: Mapping[str, torch.Tensor]
    updates: Mapping[str, Update]


def is_lora(source: Source) -> bool:
    """Return whether a checkpoint is a LoRA of the original code."""
    return CONFIG in source.files or TRAINED in source.files


def base_name(source: Source) -> str:
    """Return the hub id or folder of the model that a LoRA was trained on.

    Raises:
        ModelError: The LoRA does not name it.
    """
    base = _settings(source).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(f"{CONFIG} of {source.name!r} names no base model.", "Name it: base='…'.")
    return base


def read_lora(source: Source, base: Mapping[str, torch.Tensor]) -> Lora:
    """Read a LoRA and check that all of it fits its base model.

    Args:
        source: Of the LoRA.
        base: Weights of the base model.

    Raises:
        ModelError: A file is missing or damaged, or the LoRA is of another kind or model.
    """
    name, settings = source.name, _settings(source)
    if field := next((field for field in _UNSUPPORTED if settings.get(field)), None):
        raise ModelError(f"{CONFIG} of {name!r} has {field}={settings[field]!r}.", _MERGE)
    if not isinstance(settings.get("lora_alpha"), int | float):
        alpha = settings.get("lora_alpha")
        raise ModelError(
            f"{CONFIG} of {name!r} has lora_alpha={alpha!r}.",
            "Write the number that it was trained with.",
        )
    adapter = next((file for file in ADAPTER_FILES if file in source.files), "")
    missing = [ADAPTER_FILES[1]] * (not adapter) + [TRAINED] * (TRAINED not in source.files)
    if missing:
        raise ModelError(f"The LoRA {name!r} has no {missing[0]}.", "Name its whole folder.")
    source.fetch([adapter, TRAINED])
    matrices = _plain(map_weights(source.folder, WeightFiles((adapter,)), name))
    trained = _plain(map_weights(source.folder, WeightFiles((TRAINED,)), name))
    updates = {}
    for key in [key for key in matrices if key.endswith(".lora_A.weight")]:
        down = matrices.pop(key)
        module = key.removesuffix(".lora_A.weight")
        up = matrices.pop(f"{module}.lora_B.weight", None)
        weight = base.get(f"{module}.weight")
        if up is None or weight is None or (up.shape[0], down.shape[1]) != tuple(weight.shape):
            raise _other_model(name, key)
        updates[f"{module}.weight"] = Update(up, down, _scale(settings, down.shape[0]))
    if matrices:
        raise _other_model(name, min(matrices))
    return Lora(trained, updates)


def _settings(source: Source) -> dict[str, Any]:
    try:
        return read_object(source.folder / CONFIG)
    except ValueError as error:
        raise ModelError(
            f"{CONFIG} of {source.name!r} cannot be read: {error}.", "Name its whole folder."
        ) from error


def _scale(settings: Mapping[str, Any], rank: int) -> float:
    return float(settings["lora_alpha"]) / (rank**0.5 if settings.get("use_rslora") else rank)


def _plain(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights by the names of the model that PEFT wrapped."""
    return {
        key.removeprefix(_PREFIX).replace(".default.", "."): tensor
        for key, tensor in weights.items()
    }


def _other_model(name: str, key: str) -> ModelError:
    return ModelError(
        f"The LoRA {name!r} was trained on another model: {key} has no place in its base model.",
        "Name the right one: base='…'.",
    )
