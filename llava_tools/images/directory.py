"""`DirectoryImages`: images as files of one directory, which several processes may share.

A file has the image's handle as its name and `ImageRef.data` as its content, so that whatever is
read can be compared with its name. Its modification time is that of its last use, which tells all
processes which image is the oldest. A lock file orders changes, and holds the sum of all bytes, so
that files are listed only to make room. The sum is raised before a file is written and lowered
after one is removed: a process that is killed in between leaves it too high, and the next listing
corrects it. Images are read without the lock.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from llava_tools.errors import ImageError, ImageStoreError
from llava_tools.images.loading import restore_image
from llava_tools.images.memory import MemoryImages
from llava_tools.images.ref import ImageRef, is_handle
from llava_tools.images.sources import check_bytes, read_file, shorten

_LOCK = ".lock"
#: With more files than this, one in `_SHARE` of the bytes is freed at once, so that files are not
#: listed at every addition.
_MANY = 1000
_SHARE = 16
_TEMPORARY = ".tmp-"
_TOTAL_DIGITS = 20
#: Images that were read last, of all directories: saves checking them again at every use. Whether
#: a directory holds an image is decided by its file alone, and those that were added do not come
#: here, because `ImageRef.source` may name a file of somebody else.
_recent = MemoryImages(64 << 20)


class DirectoryImages:
    """The images in a directory. Safe to use from many threads and processes.

    Args:
        directory: Its folder, made with mode 0700 if it does not exist; files have mode 0600.
        max_bytes: Bytes of all files; the least recently used go first. Processes that share the
            directory each apply their own.

    Raises:
        ImageStoreError: The folder cannot be made.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        with self._store_errors("made"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def add(self, image: ImageRef) -> None:
        """Write an image, or mark it as used if it is there.

        Raises:
            ImageError: Its file would be larger than those that are read.
            ImageStoreError: The directory cannot be written.
        """
        data = image.data
        check_bytes(len(data), image.source)
        path = self._directory / image.handle
        with self._store_errors("written"), self._locked() as lock:
            old = _size(path)
            if old == len(data):
                _mark_used(path)
                return
            total = self._total(lock) + len(data) - (old or 0)
            _write_total(lock, total)
            self._write(path, data)
            if total > self._max_bytes:
                self._make_room(lock, image.handle)

    def get(self, handle: str) -> ImageRef | None:
        """Return an image and mark it as used; None if it is not there.

        Raises:
            ImageError: Its file was damaged, and is removed now.
            ImageStoreError: The directory cannot be read.
        """
        if handle not in self:
            return None
        path = self._directory / handle
        try:
            with self._store_errors("read"), self._locked():
                _mark_used(path)
            image = _recent.get(handle)
            if image is None:
                image = self._read(path)
                _recent.add(image)
        except FileNotFoundError:  # removed meanwhile
            return None
        return image

    def remove(self, handle: str) -> None:
        """Remove an image, if it is there.

        Raises:
            ImageStoreError: The directory cannot be written.
        """
        if handle in self:
            with self._store_errors("written"), self._locked() as lock:
                self._unlink(lock, self._directory / handle)

    def clear(self) -> None:
        """Remove all images, and nothing else.

        Raises:
            ImageStoreError: The directory cannot be written.
        """
        with self._store_errors("written"), self._locked() as lock:
            for _, _, name in self._files():
                (self._directory / name).unlink(missing_ok=True)
            self._remove_leftovers()
            _write_total(lock, 0)

    def handles(self) -> list[str]:
        """Return the handles of all images, the least recently used first.

        Raises:
            ImageStoreError: The directory cannot be read.
        """
        with self._store_errors("read"):
            return [handle for _, _, handle in sorted(self._files())]

    def __contains__(self, handle: object) -> bool:
        return is_handle(handle) and _size(self._directory / handle) is not None

    def __len__(self) -> int:
        with self._store_errors("read"):
            return len(self._files())

    def _write(self, path: Path, data: bytes) -> None:
        """Write a file as a whole or not at all."""
        temporary = self._directory / f"{_TEMPORARY}{uuid.uuid4().hex}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with open(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(data)
            _mark_used(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _read(self, path: Path) -> ImageRef:
        # No links, and no waiting for whoever writes into a pipe.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self._store_errors("read"), open(os.open(path, flags), "rb") as file:
            try:
                return restore_image(_content(file, path.name), path.name)
            except ImageError as error:
                damaged = os.fstat(file.fileno()).st_ino
                with self._locked() as lock:
                    if path.stat(follow_symlinks=False).st_ino == damaged:
                        self._unlink(lock, path)
                raise ImageError(
                    f"The file of {path.name} in the image store was damaged, and is removed now: "
                    f"{error.message}",
                    "Give the picture itself again.",
                ) from error

    def _total(self, lock: int) -> int:
        """Return the bytes of all files, from the lock file if it has them."""
        text = os.pread(lock, _TOTAL_DIGITS, 0)
        return int(text) if text.isdigit() else sum(size for _, size, _ in self._files())

    def _unlink(self, lock: int, path: Path) -> None:
        size = _size(path) or 0
        path.unlink(missing_ok=True)
        _write_total(lock, max(self._total(lock) - size, 0))

    def _make_room(self, lock: int, kept: str) -> None:
        """Remove the oldest files beyond `max_bytes`, but not the one that was just written."""
        self._remove_leftovers()
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        room = self._max_bytes
        if total > room and len(files) > _MANY:
            room -= room // _SHARE
        for _, size, name in files:
            if total <= room:
                break
            if name != kept:
                (self._directory / name).unlink(missing_ok=True)
                total -= size
        _write_total(lock, total)

    def _remove_leftovers(self) -> None:
        """Remove what killed processes were writing; nobody else is, since the lock is ours."""
        for path in self._directory.glob(f"{_TEMPORARY}*"):
            path.unlink(missing_ok=True)

    def _files(self) -> list[tuple[int, int, str]]:
        """Return the time of the last use, the bytes and the handle of each image."""
        found = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if is_handle(entry.name):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if stat.S_ISREG(status.st_mode):
                        found.append((status.st_mtime_ns, status.st_size, entry.name))
        return found

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Exclude all other threads and processes; yields the descriptor of the lock file."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._directory / _LOCK, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                yield descriptor
            finally:
                # Closing is not enough if a fork took a copy of the descriptor.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    @contextmanager
    def _store_errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            if self._directory.is_dir():
                raise
            raise ImageStoreError(
                f"The folder of the image store, {shorten(self._directory)}, is gone.",
                "Make it again, or choose another one.",
            ) from None
        except OSError as error:
            reason = error.strerror or error
            raise ImageStoreError(
                f"The image store {shorten(self._directory)} cannot be {verb}: {reason}.",
                "Check its folder's permissions and the free space, or choose another folder.",
            ) from error


def _size(path: Path) -> int | None:
    """Return the bytes of a regular file, or None if there is none."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _write_total(lock: int, total: int) -> None:
    os.pwrite(lock, b"%0*d" % (_TOTAL_DIGITS, total), 0)


def _mark_used(path: Path) -> None:
    now = time.time_ns()  # the clock of the file system is too coarse to order two uses
    os.utime(path, ns=(now, now), follow_symlinks=False)


def _content(file: BinaryIO, name: str) -> bytes:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise ImageError(f"{name} is no regular file.")
    return read_file(file, name)
