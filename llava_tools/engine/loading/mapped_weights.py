"""Weight files as tensors that are read from disk when they are used.

Pickled files are read through `weights_only`, which runs no code of the file.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from llava_tools.errors import ModelError

#: Indexes of split weights and weights in one file, in the order in which they are preferred.
_CANDIDATES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)


def map_weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint's folder; safetensors are preferred.

    Raises:
        ModelError: There are none, or they are damaged; the message calls the model `name`.
    """
    path = next((folder / item for item in _CANDIDATES if (folder / item).is_file()), None)
    if path is None:
        raise ModelError(
            f"{name!r} has no weights in safetensors files or pytorch_model.bin.",
            "Download the checkpoint again, or name the folder that holds its weights.",
        )
    if path.suffix != ".json":
        return map_file(path)
    try:
        names = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    weights: dict[str, torch.Tensor] = {}
    for file in sorted(names):
        if not (folder / file).is_file() or Path(file).name != file:
            raise ModelError(f"{name!r} has no file {file!r}.", "Download the checkpoint again.")
        weights |= map_file(folder / file)
    return weights


def map_file(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file or of a pickled file, on the CPU.

    Raises:
        ModelError: The file is damaged, or holds something else than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            weights: object = load_file(path)
        else:
            # The format before torch 1.6 is no zip file and cannot be mapped.
            weights = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(weights, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in weights.items()
    ):
        raise _damaged(path, "it holds other things than tensors")
    return weights


def _damaged(path: Path, reason: object) -> ModelError:
    first = str(reason).strip().split("\n")[0]
    return ModelError(f"{path} cannot be read: {first}", "Download the file again.")
