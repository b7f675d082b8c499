"""The calibration of a checkpoint, and the fingerprint that says which weights it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from llava_tools.core.calibration import (
    FILE_NAME,
    UNCALIBRATED,
    Calibration,
    read_calibration,
)
from llava_tools.engine.loading.source import Source

#: Blocks of a weight file that are hashed, the first and the last among them; all of it would take
#: a minute for 13 billion parameters. Training changes every block of what it trains.
_BLOCKS = 64
_BLOCK_BYTES = 4096


def fingerprint(folder: Path, weight_files: Iterable[str]) -> str:
    """Return a hash of the sizes of weight files and of samples of their bytes.

    Args:
        folder: Of the checkpoint.
        weight_files: Their names; of an adapter its own.
    """
    digest = hashlib.sha256()
    for name in sorted(weight_files):
        with (folder / name).open("rb") as file:
            size = file.seek(0, 2)
            digest.update(f"{name} {size}\n".encode())
            last = max(size - _BLOCK_BYTES, 0)
            for block in range(_BLOCKS):
                file.seek(last * block // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()


def find_calibration(
    source: Source, path: str | Path | None, name: str, weights: str
) -> Calibration:
    """Return the calibration of a model: from a file, else from its folder, if there is one.

    Args:
        source: Its files.
        path: The file that the options name.
        name: Of the model, as answers report it.
        weights: Its fingerprint.

    Raises:
        ModelError: The file is missing, damaged, or belongs to another model.
    """
    if path is None and FILE_NAME not in source.files:
        return UNCALIBRATED
    if path is None:
        source.fetch([FILE_NAME])
    file = source.folder / FILE_NAME if path is None else Path(path).expanduser()
    calibration = read_calibration(file)
    calibration.check_model(file, name, weights)
    return calibration
