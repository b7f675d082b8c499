"""`ImageStore`: keeps images under their handles (`img_…`), in memory or in a directory.

Conversations, checkpoints and tool calls name images by handle. A handle is a content hash and no
permission: an image is had from the stores that hold it, and from no other. A store opens no paths
and no URLs.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

from llava_tools.errors import ImageError, ImageStoreError, RequestError
from llava_tools.images.memory import MemoryImages
from llava_tools.images.ref import ImageRef
from llava_tools.images.sources import shorten

if TYPE_CHECKING:
    from llava_tools.images.directory import DirectoryImages

#: The environment variable with the directory of the shared store.
DIRECTORY_VARIABLE = "LLAVA_IMAGE_STORE"

#: Begins the key of a store in memory, which is no folder's name.
_IN_MEMORY = "memory:"


class ImageStore:
    """Keeps images by handle, up to a number of bytes. Safe to use from many threads.

        store = ImageStore(directory="conversations/images")

    With a directory, images outlive the process, and other processes that use the directory have
    them too. Each file is compared with its handle when it is read. Stores of one directory are
    equal.

    Args:
        max_bytes: Bytes that the images may take, >= 1; 1 GiB by default. The least recently used
            are removed first; the last one added always stays.
        directory: A folder of a local file system, made if it does not exist, for its owner only;
            not on Windows. None: the memory of this process.

    Raises:
        RequestError: An impossible `max_bytes` or `directory`.
        ImageStoreError: The folder cannot be made or used, or this is Windows.
    """

    def __init__(self, max_bytes: int = 1 << 30, directory: str | Path | None = None) -> None:
        if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 1:
            raise RequestError(f"max_bytes={max_bytes!r} is not possible.", "Use at least 1.")
        self._max_bytes = max_bytes
        self._directory = None if directory is None else _absolute(directory)
        self._key = (
            f"{_IN_MEMORY}{uuid.uuid4().hex}" if self._directory is None else str(self._directory)
        )
        self._images: MemoryImages | DirectoryImages
        if self._directory is None:
            self._images = MemoryImages(max_bytes)
        else:
            _check_locks()
            from llava_tools.images.directory import DirectoryImages

            self._images = DirectoryImages(self._directory, max_bytes)

    @property
    def directory(self) -> Path | None:
        """The folder of the images; None if they are in memory."""
        return self._directory

    @property
    def key(self) -> str:
        """What tells this store from others: its folder, or a random text if it is in memory."""
        return self._key

    def add(self, image: ImageRef) -> str:
        """Keep an image and return its handle.

        Raises:
            ImageError: It is too large for a file.
            ImageStoreError: The directory cannot be written.
        """
        self._images.add(image)
        return image.handle

    def get(self, handle: str) -> ImageRef:
        """Return the image of a handle.

        Raises:
            ImageError: It was never added, was removed, or its file is damaged.
            ImageStoreError: The directory cannot be read.
        """
        image = self._images.get(handle)
        if image is None:
            raise ImageError(
                f"There is no picture {shorten(handle)} here: it was never given, or had to "
                "make room for others.",
                "Give the picture itself, or a handle (img_…) from this conversation.",
            )
        return image

    def remove(self, handle: str) -> None:
        """Remove the image of a handle, if it is there.

        Raises:
            ImageStoreError: The directory cannot be written.
        """
        self._images.remove(handle)

    def clear(self) -> None:
        """Remove all images.

        Raises:
            ImageStoreError: The directory cannot be written.
        """
        self._images.clear()

    def handles(self) -> list[str]:
        """Return the handles of all images, the least recently used first.

        Raises:
            ImageStoreError: The directory cannot be read.
        """
        return self._images.handles()

    def __contains__(self, handle: object) -> bool:
        return handle in self._images

    def __len__(self) -> int:
        return len(self._images)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageStore) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        place = f", directory={str(self._directory)!r}" if self._directory else ""
        return f"ImageStore(max_bytes={self._max_bytes}{place})"

    def __deepcopy__(self, memo: object) -> Self:
        return self  # a store is a place, which copies of what uses it share

    def __reduce__(self) -> tuple[Callable[..., ImageStore], tuple[int, Path] | tuple[()]]:
        if self is _shared:
            return shared_store, ()  # that of the process which unpickles it
        if self._directory is None:
            raise TypeError("An ImageStore in memory cannot be pickled. Give it a directory.")
        return type(self), (self._max_bytes, self._directory)


#: A store, or the folder of one; None for the store that a process shares.
ImageStoreLike: TypeAlias = ImageStore | str | Path | None


def open_store(image_store: ImageStoreLike) -> ImageStore:
    """Return the store that the option `image_store` names.

    Raises:
        RequestError: It is neither a store nor a folder's path.
        ImageStoreError: The folder cannot be made or used.
    """
    if image_store is None:
        return shared_store()
    if isinstance(image_store, ImageStore):
        return image_store
    return ImageStore(directory=image_store)


def shared_store() -> ImageStore:
    """Return the store of this process, the default wherever a store can be passed.

    At its first use the environment variable LLAVA_IMAGE_STORE may name its directory; without it,
    images are kept in memory.

    Raises:
        ImageStoreError: That directory cannot be made or used.
    """
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = ImageStore(directory=os.environ.get(DIRECTORY_VARIABLE) or None)
        return _shared


_shared: ImageStore | None = None
_shared_lock = threading.Lock()


def _check_locks() -> None:
    if find_spec("fcntl") is None:
        raise ImageStoreError(
            "An image store with a directory needs the file locks of POSIX, which Windows lacks.",
            f"Leave out its directory, and {DIRECTORY_VARIABLE}: images are kept in memory.",
        )


def _absolute(directory: str | Path) -> Path:
    if not isinstance(directory, str | Path) or not str(directory) or "\0" in str(directory):
        raise RequestError(
            f"{shorten(repr(directory), quote=False)} is not possible as an image store.",
            "Use an ImageStore or a folder's path.",
        )
    if str(directory).startswith(_IN_MEMORY):
        raise RequestError(
            f"image_store={str(directory)!r} was in memory, and cannot be opened by its name.",
            "Pass the ImageStore itself, or use a store with a directory.",
        )
    try:
        return Path(directory).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise RequestError(
            f"{shorten(directory)} is not possible as the folder of an image store: {error}.",
            "Check the path.",
        ) from error
