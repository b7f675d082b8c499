"""Where a model's files are: its name, resolved once, becomes a local folder.

A hub id leads to a snapshot in the hub's cache, first of its small files, so that a checkpoint can
be inspected before `Source.fetch` downloads gigabytes. All loading reads the folder.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from llava_tools.engine.loading import refusals
from llava_tools.engine.loading.inspection import list_files
from llava_tools.errors import ModelError, ModelNotFoundError, require
from llava_tools.options import ALIASES

if TYPE_CHECKING:
    from llava_tools.engine.loading.hub import Snapshot


@dataclass(frozen=True)
class Source:
    """The files of a model.

    Attributes:
        name: `tiny`, a hub id or a folder, as errors and answers show it.
        folder: Local folder. That of a hub id has the small files, and others once they were
            fetched.
        files: Names and sizes of all files, those that were not fetched yet included.
        snapshot: Of a hub id, its snapshot.
    """

    name: str
    folder: Path
    files: Mapping[str, int]
    snapshot: Snapshot | None = None

    def fetch(self, names: Iterable[str]) -> None:
        """Download files that are not in the folder yet.

        Raises:
            ModelError: There is no network, or too little space on the disk.
        """
        if self.snapshot is not None:
            self.snapshot.fetch(names)


def resolve(name: str, revision: str | None = None, local_files_only: bool = False) -> Source:
    """Resolve `tiny`, `0.5b`, `7b`, `13b`, a hub id or a folder.

    Args:
        name: The name.
        revision: Branch, tag or commit of a hub id.
        local_files_only: Use no network.

    Raises:
        ModelNotFoundError: No such model, folder or revision, or it cannot be reached.
        ModelError: It is a file, or a folder that may not be read.
        MissingExtraError: It is on the hub, and huggingface_hub is not installed.
    """
    source = ALIASES.get(name, name)
    folder = local_folder(name)
    if folder is not None:
        return Source(source, folder, list_files(folder))
    require("huggingface_hub", extra="torch")
    from llava_tools.engine.loading import hub  # folders need no hub

    snapshot = hub.resolve(source, revision, local_files_only)
    return Source(source, snapshot.folder, snapshot.files, snapshot)


def local_folder(name: str) -> Path | None:
    """Return the folder that a name stands for; None for a hub id.

    Raises:
        ModelNotFoundError: The name can be neither.
        ModelError: It is a file, or a folder that may not be read.
    """
    source = ALIASES.get(name, name)
    if source == "tiny":
        return Path(str(files("llava_tools") / "tiny"))
    path = os.path.expanduser(source)  # unlike `Path`, it takes every text
    if os.path.isdir(path):
        if not os.access(path, os.R_OK | os.X_OK):
            raise ModelError(f"The folder {name!r} cannot be read.", "Check its permissions.")
        return Path(path)
    if is_file(name):
        raise refusals.file(Path(path)).error()
    is_hub_id = source.count("/") == 1 and not source.startswith((".", "/", "~"))
    if not is_hub_id or source.endswith("/") or os.path.lexists(path):
        raise _unknown(name)
    return None


def is_file(name: str) -> bool:
    """Whether a name stands for a file, which is no model."""
    return name not in ALIASES and os.path.isfile(os.path.expanduser(name))


def _unknown(name: str) -> ModelNotFoundError:
    similar = _similar(name)
    return ModelNotFoundError(
        f"There is no model {name!r}.",
        (f"Did you mean {similar!r}? " if similar else "")
        + "Use 'tiny', '0.5b', '7b', '13b', a hub id like 'llava-hf/llava-1.5-7b-hf', or a folder.",
    )


def _similar(name: str) -> str | None:
    """Return the hub id in an address, or the known model with a similar name."""
    if match := re.match(r"(?:https?://)?(?:huggingface|hf)\.co/([^/?#]+/[^/?#]+)", name):
        return match[1]
    known = {model.rpartition("/")[2]: model for model in ALIASES.values()}
    known |= {alias: alias for alias in ALIASES}
    names = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return known[names[0]] if names else None
