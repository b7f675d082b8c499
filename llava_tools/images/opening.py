"""Opens files that others name: what is checked is the open file, which no one can swap any more.

A path that was checked may be another file a moment later: a link that leads out of an allowed
directory, or a pipe, whose opening would wait for ever.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from io import BufferedReader
from os.path import splitdrive
from pathlib import Path

#: To open a folder on the way; O_PATH, where it exists, needs no permission to list it.
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def open_regular(path: str | Path) -> BufferedReader:
    """Open a regular file for reading, without waiting for whoever writes to a pipe.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    return open(path, "rb", opener=_open_regular)


def open_regular_within(path: str | Path, directories: Iterable[Path]) -> BufferedReader:
    """Open a regular file in one of some directories, which have no links in their own paths.

    Links in `path` are resolved first. Then each folder is opened by its name in the one before,
    without following links, so that a link that appears meanwhile is refused. Windows cannot do
    that: there, the path of the open file is resolved again and compared.

    Raises:
        PermissionError: It is outside of the directories.
        OSError: It cannot be opened, or is no regular file.
    """
    directories = tuple(directories)
    if leads_to_another_computer(path, directories):
        raise _outside(path)
    resolved = Path(os.path.realpath(path))
    above = directory_of(resolved, directories)
    if above is None or resolved == above:
        raise _outside(path)
    if os.open not in os.supports_dir_fd:
        return _open_and_compare(resolved)
    names = resolved.relative_to(above).parts
    return open(resolved, "rb", opener=lambda _, flags: _open_below(above, names, flags))


def leads_to_another_computer(name: str | Path, directories: Iterable[Path]) -> bool:
    r"""Return whether a name is one of a network share that no directory is in.

    Such names, like `\\host\share\a.png`, exist on Windows only. Looking at one sends the user's
    credentials to that computer, so this comes before any look.
    """
    share = _drive(name)
    return share.startswith("\\\\") and all(_drive(folder) != share for folder in directories)


def _drive(name: str | Path) -> str:
    return splitdrive(str(name))[0].replace("/", "\\").lower()


def directory_of(path: Path, directories: Iterable[Path]) -> Path | None:
    """Return the directory that a path is in, or is; None without one. No path has links."""
    return next((folder for folder in directories if path.is_relative_to(folder)), None)


def _outside(path: str | Path) -> PermissionError:
    return PermissionError(errno.EACCES, "It is outside of the allowed directories", str(path))


def _open_regular(path: str | Path, flags: int, folder: int | None = None) -> int:
    """Open a file below a folder's descriptor, and check the descriptor."""
    file = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), dir_fd=folder)
    mode = os.fstat(file).st_mode
    if stat.S_ISREG(mode):
        return file
    os.close(file)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "It is a device or a pipe", str(path))


def _open_below(directory: Path, names: tuple[str, ...], flags: int) -> int:
    folder = os.open(directory, _FOLDER)
    try:
        for name in names[:-1]:
            deeper = os.open(name, _FOLDER | _NO_LINK, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return _open_regular(names[-1], flags | _NO_LINK, folder)
    finally:
        os.close(folder)


def _open_and_compare(resolved: Path) -> BufferedReader:
    file = open_regular(resolved)
    same = Path(os.path.realpath(resolved)) == resolved
    if same and os.path.samestat(os.fstat(file.fileno()), os.lstat(resolved)):
        return file
    file.close()
    raise PermissionError(errno.EACCES, "It was replaced while it was opened", str(resolved))
