"""Mending an index: versions of its tables that cannot be read are removed.

LanceDB keeps a manifest for each version of a table, and the files of the last ten minutes' ones.
Without the newest versions, a table is as it was some writes earlier: `changes.find_changes`
compares both tables, so an update reads again what is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llava_tools.errors import ForeignIndexError, IndexStoreError
from llava_tools.images.sources import shorten
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.schema import IndexMetadata
from llava_tools.retrieval.tables import connect, open_table, read_rows
from llava_tools.retrieval.writable_store import WritableStore

_MOST_VERSIONS = 2**64 - 1


def open_to_write(
    location: IndexLocation, metadata: IndexMetadata | None, keep_images: bool | None
) -> WritableStore:
    """Open an index after mending it, or create it; only while no other process writes.

    Raises:
        IndexStoreError: It cannot be mended, or is kept in another way than `keep_images`; a
            `ForeignIndexError` for an index that is left alone.
    """
    try:
        store = _open_and_check(location, metadata, keep_images)
    except ForeignIndexError:
        raise
    except IndexStoreError:
        if not remove_damaged_versions(location):
            raise
        store = _open_and_check(location, metadata, keep_images)
        store.mended = True
    if keep_images is not None and keep_images != store.keeps_images:
        state = "keeps" if store.keeps_images else "does not keep"
        raise IndexStoreError(
            f"The index in {shorten(location)} {state} the images of pages, from its creation on.",
            "Index into another folder to change that.",
        )
    return store


def _open_and_check(
    location: IndexLocation, metadata: IndexMetadata | None, keep_images: bool | None
) -> WritableStore:
    store = WritableStore(location, metadata, keep_images=bool(keep_images))
    store.documents()
    store.page_counts()  # opens each file of the table
    return store


def clean_up(store: WritableStore, *, verify: bool) -> None:
    """Run `WritableStore.clean_up`, after mending the index if that fails.

    Raises:
        IndexStoreError: It cannot be mended, or writes were lost.
    """
    try:
        store.clean_up(verify=verify)
    except IndexStoreError:  # perhaps an old version that cannot be removed, since it is damaged
        if not remove_damaged_versions(store.location):
            raise
        mended = WritableStore(store.location)
        if mended.versions != store.versions:
            raise IndexStoreError(
                f"The index in {shorten(store.location)} was damaged, and its last writes are "
                "removed.",
                "Index again: they are read again.",
            ) from None
        mended.clean_up(verify=verify)


def remove_damaged_versions(location: IndexLocation) -> bool:
    """Remove versions that can be read from the disk, but not by LanceDB; return whether any was.

    Only for folders, and only while no other process writes. A table without a version that can be
    read keeps all of them.
    """
    if location.folder is None:
        return False
    removed = False
    with location.translate_errors():
        database = connect(location)
        tables = sorted(location.folder.glob("*.lance"))
    for table in tables:
        removed |= _mend(location, database, table)
    return removed


def _mend(location: IndexLocation, database: Any, table: Path) -> bool:
    with location.translate_errors():
        manifests = sorted((table / "_versions").glob("*.manifest"), key=_version, reverse=True)
        # LanceDB reads the newest manifest first, also for an older version: so they make way.
        aside: list[Path] = []
        while not _is_readable(location, database, table.stem):
            if len(aside) == len(manifests):
                for path in aside:
                    path.rename(path.with_suffix(".manifest"))
                return False
            manifest = manifests[len(aside)]
            manifest.read_bytes()  # raises if the disk is at fault
            aside.append(manifest.rename(manifest.with_suffix(".damaged")))
        older = [
            manifest
            for manifest in manifests[len(aside) + 1 :]
            if not _is_readable(location, database, table.stem, _version(manifest))
        ]
        for path in (*aside, *older):
            path.unlink()
    return bool(aside or older)


def _version(manifest: Path) -> int:
    """Return the version that a manifest's name counts down or up to."""
    number = int(manifest.stem) if manifest.stem.isdigit() else 0
    return _MOST_VERSIONS - number if number > _MOST_VERSIONS // 2 else number


def _is_readable(
    location: IndexLocation, database: Any, name: str, version: int | None = None
) -> bool:
    """Return whether an old version opens; or whether all rows of the newest one can be read."""
    try:
        with location.translate_errors():
            table = open_table(database, name, version)
            if version is None:
                read_rows(table)
    except IndexStoreError:
        return False
    return True
