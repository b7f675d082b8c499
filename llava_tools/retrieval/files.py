"""Which files there are to index: paths go in, files and what had to be left out come out.

Folders are walked with their links followed, each folder once. Nothing is opened here except
folders.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llava_tools.errors import DocumentError
from llava_tools.images.sources import short

#: Endings of the files that are taken out of folders; a file that is named itself may have any.
SUFFIXES = frozenset(
    (".pdf", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2")
)


@dataclass(frozen=True)
class Skipped:
    """A file that was left out.

    Attributes:
        document: Its absolute path.
        reason: Why, and what to do about it.
        keep: Whether its content may still be what was indexed before: it could not be looked at.
    """

    document: str
    reason: str
    keep: bool = False


@dataclass
class Found:
    """What a walk found.

    Attributes:
        files: Absolute paths, sorted, each once.
        skipped: What could not be looked at.
        roots: The folders that were walked.
    """

    files: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)


def find(paths: Sequence[str | Path]) -> Found:
    """Find the documents below paths.

    Args:
        paths: Files and folders.

    Raises:
        DocumentError: A path does not exist.
    """
    found = Found()
    visited: set[tuple[int, int]] = set()
    for path in paths:
        absolute = os.path.abspath(Path(path).expanduser())
        if not os.path.lexists(absolute):
            raise DocumentError(f"There is no file or folder {short(path)}.", "Check the name.")
        _visit(absolute, found, visited, (), named=True)
    found.files = sorted(set(found.files))
    return found


def _visit(
    path: str,
    found: Found,
    visited: set[tuple[int, int]],
    above: tuple[tuple[int, int], ...],
    *,
    named: bool,
) -> None:
    """Note a file, or walk a folder that is not among those `above` it."""
    if not named and os.path.splitext(path)[1].lower() not in SUFFIXES and not os.path.isdir(path):
        return
    try:
        status = os.stat(path)
        if not stat.S_ISDIR(status.st_mode):
            if stat.S_ISREG(status.st_mode):
                found.files.append(path)
            else:
                found.skipped.append(Skipped(path, "It is a device or a pipe."))
            return
        here = (status.st_dev, status.st_ino)
        if here in above:
            found.skipped.append(Skipped(path, "It links back to a folder that it is in."))
            return
        if here in visited:
            return
        entries = sorted(os.listdir(path))
    except OSError as error:
        found.skipped.append(Skipped(path, f"It cannot be read: {error.strerror}.", keep=True))
        return
    visited.add(here)
    if named:
        found.roots.append(path)
    for entry in entries:
        _visit(os.path.join(path, entry), found, visited, (*above, here), named=False)


def is_gone(document: str, found: Found) -> bool:
    """Return whether a document that was indexed is no longer there.

    It is not taken for gone where its folder has gone as well, unless that lay below a folder that
    was just walked: a drive that is not mounted must not empty an index.
    """
    try:
        os.stat(document)
    except (FileNotFoundError, NotADirectoryError):
        walked = any(document.startswith(os.path.join(root, "")) for root in found.roots)
        return walked or os.path.isdir(os.path.dirname(document))
    except OSError:
        return False
    return False
