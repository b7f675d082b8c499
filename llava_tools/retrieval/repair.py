"""Mending an index: versions of its tables that cannot be read are removed.

LanceDB keeps a manifest for each version of a table. Without the newest one, a table is as it was
one write earlier: `ingest.plan_ingest` compares both tables and reads again what is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llava_tools.errors import IndexStoreError
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.store import connect, open_table

_MOST_VERSIONS = 2**64 - 1


def remove_damaged_versions(location: IndexLocation) -> bool:
    """Remove manifests that can be read from the disk, but not by LanceDB; return whether any was.

    Only for folders, and only while no other process writes. A table keeps its last manifest.
    """
    if location.folder is None:
        return False
    removed = False
    with location.translate_errors():
        database = connect(location)
    for table in sorted(location.folder.glob("*.lance")):
        removed |= _mend(location, database, table)
    return removed


def _mend(location: IndexLocation, database: Any, table: Path) -> bool:
    with location.translate_errors():
        newest_first = sorted((table / "_versions").glob("*.manifest"), key=_version, reverse=True)
        removed = False
        while len(newest_first) > 1 and not _opens(location, database, table.stem):
            newest_first[0].read_bytes()  # raises if the disk is at fault
            newest_first.pop(0).unlink()
            removed = True
        for manifest in newest_first[1:]:
            if not _opens(location, database, table.stem, _version(manifest)):
                manifest.read_bytes()
                manifest.unlink()
                removed = True
    return removed


def _version(manifest: Path) -> int:
    """Return the version that a manifest's name counts down or up to."""
    number = int(manifest.stem) if manifest.stem.isdigit() else 0
    return _MOST_VERSIONS - number if number > _MOST_VERSIONS // 2 else number


def _opens(location: IndexLocation, database: Any, name: str, version: int | None = None) -> bool:
    try:
        with location.translate_errors():
            open_table(database, name, version)
    except IndexStoreError:
        return False
    return True
