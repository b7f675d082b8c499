"""Snapshots of repositories on the Hugging Face hub, in the hub's own cache.

One request resolves a repository to a commit with the sizes of its files; then its small files are
downloaded, and later those that are wanted. Without a network the cached snapshot takes its place.
Which one that is stands in the cache's `refs`, as for all of the hub's clients. Here it moves to a
new commit only once the weights of that one are complete.
"""

from __future__ import annotations

import glob
import logging
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from tqdm.auto import tqdm

from llava_tools.engine.loading.hub_errors import FAILURES, failure_of
from llava_tools.engine.loading.inspection import list_files
from llava_tools.errors import ModelError, ModelNotFoundError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

#: Seconds for the request that resolves a repository, over all addresses of the hub.
_DEADLINE = 8.0
#: Files that are not weights: configurations, tokenizers, templates, and licences.
_SMALL_SUFFIXES = (".json", ".jinja", ".model", ".txt", ".md")
_SMALL_PREFIXES = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
_MAX_SMALL_BYTES = 100_000_000


@dataclass(frozen=True)
class Snapshot:
    """A commit of a repository in the hub's cache.

    Attributes:
        repository: Hub id.
        revision: Branch, tag or commit that was resolved.
        commit: The commit.
        folder: Its folder in the cache, which may lack some of the files.
        files: Names and sizes of all files; without a network, of those in the cache.
        is_online: Whether files that the cache lacks can be downloaded.
        blobs: Names of files to those of their contents in the cache, which commits share.
    """

    repository: str
    revision: str
    commit: str
    folder: Path
    files: Mapping[str, int]
    is_online: bool
    blobs: Mapping[str, str] = field(default_factory=dict)

    def fetch(self, names: Iterable[str]) -> None:
        """Download files, the weights among them, unless they are in the cache.

        A terminal shows the progress in bytes.

        Raises:
            ModelError: There is no network, or too little space on the disk.
        """
        missing = self._missing(names)
        if missing and not self.is_online:
            raise ModelError(
                f"The cached copy of {self.repository!r} is incomplete: it lacks {missing[0]}.",
                "Load it once with a network and without local_files_only, which completes it.",
            )
        if missing:
            self._check_disk(missing)
            try:
                self._download(missing, show_progress=sys.stderr.isatty())
            except FAILURES as error:
                failure = failure_of(self.repository, self.revision, error)
                raise ModelError(
                    f"The download was interrupted. {failure.message}",
                    "Run it again: files that are complete stay.",
                ) from error
        if self.is_online:
            _write_ref(self)

    def fetch_small(self) -> None:
        """Download the files that are not weights, unless they are in the cache."""
        small = [name for name, size in self.files.items() if _is_small(name, size)]
        if missing := self._missing(small):
            self._download(missing, show_progress=False)

    def _missing(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if not (self.folder / name).exists()]

    def _download(self, names: Iterable[str], *, show_progress: bool) -> None:
        snapshot_download(
            self.repository,
            revision=self.commit,
            allow_patterns=[glob.escape(name) for name in names],
            tqdm_class=None if show_progress else _NoProgress,
        )

    def _check_disk(self, names: Iterable[str]) -> None:
        blobs = _cache_folder(self.repository) / "blobs"
        new = [name for name in names if not (blobs / self.blobs[name]).exists()]
        needed = sum(self.files[name] for name in new)
        cache = Path(constants.HF_HUB_CACHE)
        free = shutil.disk_usage(next(p for p in (cache, *cache.parents) if p.exists())).free
        if needed > free:
            raise ModelError(
                f"The download of {self.repository!r} needs {needed / 1e9:.1f} GB, and the disk of "
                f"{str(cache)!r} has {free / 1e9:.1f} GB free.",
                "Free some space, or set HF_HOME to a folder on another disk.",
            )


class _NoProgress(tqdm):  # type: ignore[type-arg]
    """A progress bar that is not shown."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"disable": True})


def resolve(repository: str, revision: str | None, local_files_only: bool) -> Snapshot:
    """Return a snapshot of a repository whose small files are in the cache.

    The cached one takes its place if the hub cannot be reached or refuses access, which is logged,
    and without a request if `local_files_only` or the environment variable HF_HUB_OFFLINE is set.

    Raises:
        ModelNotFoundError: No such repository or revision, or no access, network or cached copy.
    """
    revision = revision or constants.DEFAULT_REVISION
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise failure_of(repository, revision, error) from error
    if local_files_only or constants.HF_HUB_OFFLINE:
        if (cached := _cached(repository, revision)) is None:
            raise _not_cached(repository, revision, local_files_only)
        return cached
    try:
        snapshot = _within(_DEADLINE, lambda: _online(repository, revision))
        snapshot.fetch_small()
    except FAILURES as error:
        failure = failure_of(repository, revision, error)
        if (cached := _cached(repository, revision)) is None:
            raise failure from error
        _log.warning("%s The copy in the local cache is used.", failure.message)
        return cached
    return snapshot


def _online(repository: str, revision: str) -> Snapshot:
    info = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=_DEADLINE)
    assert info.sha is not None
    files = info.siblings or []
    return Snapshot(
        repository,
        revision,
        info.sha,
        _cache_folder(repository) / "snapshots" / info.sha,
        {file.rfilename: file.size or 0 for file in files},
        is_online=True,
        blobs={f.rfilename: f.lfs.sha256 if f.lfs else f.blob_id or "" for f in files},
    )


def _cached(repository: str, revision: str) -> Snapshot | None:
    """Return the snapshot that the cache has for a revision, if any."""
    try:
        # With these patterns an incomplete snapshot is returned, too; `fetch` tells what it lacks.
        folder = Path(
            snapshot_download(
                repository, revision=revision, local_files_only=True, allow_patterns=[]
            )
        )
    except LocalEntryNotFoundError:
        return None
    return Snapshot(repository, revision, folder.name, folder, list_files(folder), is_online=False)


def _cache_folder(repository: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")


def _write_ref(snapshot: Snapshot) -> None:
    """Make a snapshot the one that its revision names in the cache, as the hub's clients do."""
    ref = _cache_folder(snapshot.repository) / "refs" / snapshot.revision
    if snapshot.revision == snapshot.commit or (
        ref.is_file() and ref.read_text(encoding="utf-8") == snapshot.commit
    ):
        return
    part = ref.with_name(f"{ref.name}.{threading.get_native_id()}.tmp")
    try:
        ref.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(snapshot.commit, encoding="utf-8")
        part.replace(ref)
    except OSError as error:  # a cache that several users share, and this one only reads
        _log.debug("%s cannot be written: %s", ref, error)


def _is_small(name: str, size: int) -> bool:
    if "/" in name or size > _MAX_SMALL_BYTES:
        return False
    return name.endswith(_SMALL_SUFFIXES) or name.upper().startswith(_SMALL_PREFIXES)


def _within(seconds: float, call: Callable[[], _T]) -> _T:
    """Call a function in a thread of its own; raise `TimeoutError` if it takes longer.

    A timeout of a request holds for each address of a host. A firewall that drops packets would
    multiply it.
    """
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 -- raised by the caller's thread
            future.set_exception(error)

    threading.Thread(target=run, name="llava-tools-hub", daemon=True).start()
    return future.result(seconds)


def _not_cached(repository: str, revision: str, local_files_only: bool) -> ModelNotFoundError:
    switch = "local_files_only=True" if local_files_only else "HF_HUB_OFFLINE"
    hint = f"Load it once without {switch}, or name a local folder."
    snapshots = _cache_folder(repository) / "snapshots"
    if snapshots.is_dir() and any(snapshots.iterdir()):
        return ModelNotFoundError(
            f"{repository!r} is not completely in the local cache at revision {revision!r}, and "
            f"{switch} forbids a download.",
            hint,
        )
    return ModelNotFoundError(
        f"{repository!r} is not in the local cache, and {switch} forbids a download.", hint
    )
