"""Weights as tensors that stay on disk until they are used."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from llava_tools.engine.loading.checkpoint_files import WeightFiles, check_weights
from llava_tools.errors import ModelError


def map_weights(folder: Path, files: WeightFiles, name: str) -> dict[str, torch.Tensor]:
    """Return the weights of the model `name` by name, on the CPU.

    Pickled files are read through `weights_only`, which runs no code of the file.

    Raises:
        ModelError: A file is damaged, or holds other things than weights.
    """
    check_weights(folder, files, name)
    weights: dict[str, object] = {}
    for shard in files.shards:
        path = folder / shard
        if files.are_safetensors:
            weights |= load_file(path)
        else:  # files older than torch 1.6 are no zip files, and cannot be mapped
            is_mapped = zipfile.is_zipfile(path)
            weights |= torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    tensors = {key: value for key, value in weights.items() if isinstance(value, torch.Tensor)}
    if others := weights.keys() - tensors.keys():
        raise ModelError(
            f"The weights of {name!r} hold other things than tensors, such as {min(others)!r}.",
            "Name a checkpoint for inference, not one of a training run.",
        )
    return tensors
