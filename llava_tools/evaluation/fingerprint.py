"""What identifies a model and a data set, so that answers of different ones are not mixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from llava_tools.core import calibration
from llava_tools.core.backend import Backend
from llava_tools.evaluation.data_files.embedded_image import EmbeddedImage
from llava_tools.evaluation.task import Sample
from llava_tools.options import PRIVATE_OPTIONS, EngineOptions

#: Options that change no answer. `model` and `revision` are part of the model's own fingerprint,
#: and a server may move to another address.
_NO_INFLUENCE = PRIVATE_OPTIONS | {
    "model", "revision", "local_files_only", "prefix_caching", "max_concurrent_requests",
    "keep_alive", "base_url", "api_key", "calibration",
}  # fmt: skip
#: Suffixes of a checkpoint's files that decide about its answers; its calibration does not.
_CHECKPOINT_SUFFIXES = (".safetensors", ".bin", ".json", ".jinja", ".model")


def model_fingerprint(options: EngineOptions, backend: Backend) -> dict[str, str]:
    """Return what identifies the loaded model of some options.

    Returns:
        `name`, and `commit` for a snapshot of the hub, `sha256` of all files for a folder (about a
        second per gigabyte), or `served_at` for a server, which does not say more.
    """
    if options.base_url is not None:
        return {"name": backend.model_name, "served_at": "a server"}
    from llava_tools.engine.loading.source import resolve

    # It is loaded, so its files are here.
    source = resolve(options.model, options.revision, local_files_only=True)
    if source.snapshot is not None:
        return {"name": source.name, "commit": source.snapshot.commit}
    names = {name for name in source.files if name.endswith(_CHECKPOINT_SUFFIXES)}
    digest = hashlib.sha256()
    for name in sorted(names - {calibration.FILE_NAME}):
        digest.update(f"{name} {file_digest(source.folder / name)}\n".encode())
    return {"name": source.name, "sha256": digest.hexdigest()}


def answer_options(options: EngineOptions) -> dict[str, Any]:
    """Return the options that the answers depend on."""
    names = [item.name for item in fields(EngineOptions) if item.name not in _NO_INFLUENCE]
    values = {name: getattr(options, name) for name in names}
    return {name: dict(v) if isinstance(v, Mapping) else v for name, v in values.items()}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sample_digest(samples: Iterable[Sample]) -> str:
    """Return the SHA-256 of what the model gets of the samples; of images, of their names."""
    digest = hashlib.sha256()
    for sample in samples:
        parts = (sample.id, sample.question, _image_name(sample), sample.max_tokens)
        digest.update(json.dumps(parts).encode() + b"\n")
    return digest.hexdigest()


def _image_name(sample: Sample) -> str | None:
    match sample.image:
        case Path():
            return sample.image.name
        case EmbeddedImage():
            return f"{sample.image.path.name}, byte {sample.image.offset}"
        case bytes():
            return hashlib.sha256(sample.image).hexdigest()
        case _:
            return None
