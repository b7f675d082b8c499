"""The tuned checkpoint: the files of the one that it began with, with what was learned in them.

Weights are read, changed and written shard by shard, in the names, files and dtypes that they had,
so that whatever loaded the first checkpoint loads this one, and memory holds one shard at a time.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from transformers.utils.hub import cached_file

from llava_tools.errors import ModelError
from llava_tools.finetune.options import TuneOptions
from llava_tools.finetune.parameters import Change

_INDEX = "model.safetensors.index.json"

#: The released layout's names, and those of transformers' modules.
_RENAMED = {
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
    "multi_modal_projector.": "model.multi_modal_projector.",
    "vision_tower.": "model.vision_tower.",
}


def shards(where: str, options: TuneOptions) -> list[Path]:
    """Return the files of a checkpoint's weights, all of one folder.

    Args:
        where: Folder or hub id; what `engine.load` has loaded is there or in the hub's cache.
        options: Of the tuning.

    Raises:
        ModelError: They are no safetensors files.
    """
    index = _file(where, _INDEX, options)
    if index is not None:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    files = [_file(where, name, options) for name in names]
    found = [file for file in files if file is not None]
    if len(found) < len(files):
        raise ModelError(
            f"The weights of {options.model!r} are not in safetensors files, and could not be "
            "written again.",
            "Use a checkpoint in the llava-hf layout.",
        )
    return found


def _file(where: str, name: str, options: TuneOptions) -> Path | None:
    found = cached_file(
        where,
        name,
        revision=options.revision,
        local_files_only=True,
        _raise_exceptions_for_missing_entries=False,
    )
    return None if found is None else Path(found)


def check_names(weights: list[Path], changes: Mapping[str, Change]) -> None:
    """Make sure that what will be learned has a place in the files, before it is learned.

    Raises:
        ModelError: A weight is not there.
    """
    left = set(changes)
    for shard in weights:
        with safe_open(shard, "pt") as file:
            left -= {_module_name(key) for key in file.keys()}  # noqa: SIM118 -- no mapping
    if left:
        raise ModelError(
            f"{len(left)} weights (such as {min(left)}) are not in the checkpoint's files.",
            "Use a checkpoint in the llava-hf layout.",
        )


def merge(weights: list[Path], changes: Mapping[str, Change], out: Path) -> None:
    """Write the tuned checkpoint to a folder that appears when it is whole.

    Args:
        weights: From `shards`.
        changes: What to make of weights, by the names of transformers' modules.
        out: The folder; may be there if it is empty.
    """
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for source in sorted(weights[0].parent.iterdir()):
        if source.suffix in (".json", ".jinja", ".model", ".txt") or _is_licence(source.name):
            shutil.copyfile(source, part / source.name)
    for shard in weights:
        with safe_open(shard, "pt") as file:
            tensors = {}
            for key in file.keys():  # noqa: SIM118 -- no mapping
                change = changes.get(_module_name(key))
                tensor = file.get_tensor(key)
                tensors[key] = tensor if change is None else change(tensor).contiguous()
            save_file(tensors, part / shard.name, metadata=file.metadata())
    if out.exists():
        out.rmdir()
    part.rename(out)


def _is_licence(name: str) -> bool:
    return name.upper().startswith(("LICENSE", "LICENCE", "NOTICE", "USE_POLICY"))


def _module_name(key: str) -> str:
    """Return the name that a weight of the released layout has in transformers' modules."""
    for released, module in _RENAMED.items():
        if key.startswith(released):
            return module + key.removeprefix(released)
    return key
