"""The tuned checkpoint: the files of the original one, with its trained weights replaced.

Weights are read, updated and written shard by shard, with their names, files and dtypes kept: what
loads the original checkpoint loads the tuned one, and memory holds one shard at a time.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from llava_tools.core import calibration
from llava_tools.engine.loading.checkpoint import LoadedModel
from llava_tools.engine.loading.checkpoint_files import find_weights
from llava_tools.engine.loading.inspection import list_files
from llava_tools.errors import ModelError
from llava_tools.finetune.parameters import WeightUpdate

_COPIED_SUFFIXES = (".json", ".jinja", ".model", ".txt")
_COPIED_PREFIXES = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")

_DTYPES = ("F64", "F32", "F16", "BF16")
"""Of weights to which updates can be added."""

_MODULE_PREFIXES = {
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
    "multi_modal_projector.": "model.multi_modal_projector.",
    "vision_tower.": "model.vision_tower.",
}
"""From name prefixes in released files to those of transformers' modules."""


def weight_files(loaded: LoadedModel) -> list[Path]:
    """Return the weight files of a loaded model, all in one folder.

    Raises:
        ModelError: They are not safetensors files.
    """
    weights = find_weights(loaded.folder, list_files(loaded.folder), loaded.name)
    if not weights.are_safetensors:
        raise ModelError(
            f"The weights of {loaded.name!r} are not in safetensors files, so they cannot be "
            "written back.",
            "Use a checkpoint in the llava-hf layout.",
        )
    return [loaded.folder / shard for shard in weights.shards]


def check_names(files: list[Path], updates: Mapping[str, WeightUpdate]) -> None:
    """Check before training that every weight to update is in the files, and not quantized.

    Raises:
        ModelError: One is not there, or quantized.
    """
    missing = set(updates)
    for path in files:
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118 -- no mapping
                name = _module_name(key)
                if name in updates and file.get_slice(key).get_dtype() not in _DTYPES:
                    raise ModelError(
                        f"The weight {key} is quantized, so nothing can be added to it.",
                        "Train the model that this one was made from.",
                    )
                missing.discard(name)
    if missing:
        raise ModelError(
            f"{len(missing)} weights (such as {min(missing)}) are not in the checkpoint's files.",
            "Use a checkpoint in the llava-hf layout.",
        )


def merge(
    files: list[Path], updates: Mapping[str, WeightUpdate], out: Path, *, writes: bool = True
) -> None:
    """Write the tuned checkpoint to `out`, which appears once it is complete.

    Args:
        files: From `weight_files`.
        updates: By names of transformers' modules.
        out: May exist if it is empty.
        writes: False for the other processes of a run, which take part in the updates only.
    """
    if not writes:
        for path in files:
            _read_updated(path, updates)
        return
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for source in sorted(files[0].parent.iterdir()):
        if source.name == calibration.FILE_NAME:  # of the weights before
            continue
        if source.suffix in _COPIED_SUFFIXES or source.name.upper().startswith(_COPIED_PREFIXES):
            shutil.copyfile(source, part / source.name)
    for path in files:
        tensors, metadata = _read_updated(path, updates)
        save_file(tensors, part / path.name, metadata=metadata)
    if out.exists():
        out.rmdir()
    part.rename(out)


def _read_updated(
    path: Path, updates: Mapping[str, WeightUpdate]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the updated weights of a file, and its metadata."""
    tensors = {}
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118 -- no mapping
            tensor = file.get_tensor(key)
            update = updates.get(_module_name(key))
            tensors[key] = tensor if update is None else update(tensor).contiguous()
        return tensors, file.metadata()


def _module_name(key: str) -> str:
    """Return the name in transformers' modules of a weight in a checkpoint's file."""
    for prefix, module_prefix in _MODULE_PREFIXES.items():
        if key.startswith(prefix):
            return module_prefix + key.removeprefix(prefix)
    return key
