"""Which files a checkpoint has, and whether those of its weights are intact; no weight is read."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llava_tools.engine.loading.json_file import read_object
from llava_tools.errors import ModelError

#: Names of weights in one file and of the index of several, in the order of preference. They are
#: those that transformers takes; copies under other names (`original/`, `consolidated`) are not.
_LAYOUTS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
#: The way out if a file is damaged.
AGAIN = "Download or export the checkpoint again."
#: Files that a tokenizer can be made from, in transformers' order of preference.
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")
#: Files with the settings of an image processor.
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
#: Files with the weights of an adapter, in PEFT's order of preference.
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_LFS_POINTER = b"version https://git-lfs"
#: What torch raises for bytes that are not weights; some of it by chance.
_UNREADABLE = (
    *(OSError, EOFError, RuntimeError, LookupError, ValueError, TypeError, AttributeError),
    *(pickle.UnpicklingError, struct.error),
)


@dataclass(frozen=True)
class WeightFiles:
    """The files of a checkpoint's weights, by their names in its folder.

    Attributes:
        shards: The files with weights, at least one.
        index: The file that says which weight is in which shard, if there are several.
    """

    shards: tuple[str, ...]
    index: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All of the files."""
        return self.shards if self.index is None else (self.index, *self.shards)

    @property
    def are_safetensors(self) -> bool:
        """Whether they are safetensors files; else they are pickles."""
        return self.shards[0].endswith(".safetensors")


def find_weights(folder: Path, files: Iterable[str], name: str) -> WeightFiles:
    """Find the weight files of the model `name`, which may have to be downloaded yet.

    Args:
        folder: Folder of the checkpoint, which has the index, if there is one.
        files: Names of all files of the checkpoint.
        name: Of the model, for errors.

    Raises:
        ModelError: There are none, or the index names others than there are.
    """
    names = set(files)
    for single, index in _LAYOUTS:
        if single in names:
            return WeightFiles((single,))
        if index in names:
            shards = _indexed(folder / index, name)
            missing = [shard for shard in shards if shard not in names]
            if missing:
                raise ModelError(
                    f"{name!r} lacks {missing[0]}: {index} names {len(shards)} weight files, of "
                    f"which {len(missing)} are missing.",
                    AGAIN,
                )
            return WeightFiles(shards, index)
    raise ModelError(
        f"{name!r} has no weights: neither model.safetensors nor pytorch_model.bin, and no index "
        "of several such files.",
        "Download it completely, or use a checkpoint in the llava-hf layout.",
    )


def _indexed(index: Path, name: str) -> tuple[str, ...]:
    """Return the files that an index names."""
    check_no_pointers(index.parent, [index.name], name)
    try:
        content = read_object(index)
        shards = sorted(set(content["weight_map"].values()))
        valid = shards != [] and isinstance(content["metadata"], dict)
    except (ValueError, LookupError, TypeError, AttributeError):
        valid, shards = False, []
    if not valid or not all(isinstance(shard, str) for shard in shards):
        raise ModelError(
            f"{index.name} of {name!r} is not an index of weights: it must be JSON with 'metadata' "
            "and a 'weight_map' of names to files.",
            AGAIN,
        )
    return tuple(shards)


def check_no_pointers(folder: Path, names: Iterable[str], name: str) -> None:
    """Check that files of the model `name` are there themselves, and not pointers of Git LFS.

    Raises:
        ModelError: One is a pointer, or may not be read.
    """
    for file in names:
        try:
            with (folder / file).open("rb") as opened:
                begin = opened.read(len(_LFS_POINTER))
        except OSError as error:
            raise ModelError(
                f"{file} of {name!r} cannot be read: {error.strerror}.", "Check its permissions."
            ) from error
        if begin == _LFS_POINTER:
            raise ModelError(
                f"{file} of {name!r} is a Git LFS pointer, not the file itself.",
                "Run `git lfs pull` in its folder, or download the checkpoint again.",
            )


def check_weights(folder: Path, files: WeightFiles, name: str) -> None:
    """Check that the weight files of the model `name` are complete and hold weights alone.

    Raises:
        ModelError: A file is truncated, damaged, or a pickle with more than weights.
    """
    check_no_pointers(folder, files.names, name)
    for shard in files.shards:
        if files.are_safetensors:
            _check_safetensors(folder / shard, name)
        else:
            _check_pickled(folder / shard, name)


def _check_safetensors(path: Path, name: str) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt"):  # compares the header with the file's size
            pass
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, name, f": {error}") from error


def _check_pickled(path: Path, name: str) -> None:
    import torch

    try:
        # `weights_only` admits tensors and plain containers, and runs no code of the file.
        weights = torch.load(path, map_location="meta", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error):  # it is no pickle
            raise _unreadable(path, name) from error
        raise ModelError(
            f"{path.name} of {name!r} is a pickle with more than weights. Opening it could run "
            "code, so it is not opened.",
            "Use a checkpoint with safetensors files.",
        ) from error
    except _UNREADABLE as error:
        raise _unreadable(path, name) from error
    if not isinstance(weights, dict):
        raise ModelError(f"{path.name} of {name!r} holds no weights by name.", AGAIN)


def _unreadable(path: Path, name: str, reason: str = "") -> ModelError:
    return ModelError(
        f"{path.name} of {name!r} is truncated or damaged ({path.stat().st_size:,} bytes){reason}.",
        AGAIN,
    )
