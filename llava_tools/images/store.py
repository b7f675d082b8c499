"""`ImageStore`: keeps images under their handles (`img_…`).

Conversations, checkpoints and tool calls name images by handle. Handles are content hashes, so
they cannot be guessed. A store opens no paths and no URLs.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from llava_tools.errors import ImageError, RequestError
from llava_tools.images import ImageRef


class ImageStore:
    """Keeps images by handle, up to a number of bytes. Safe to use from many threads.

    Args:
        max_bytes: Memory that the images may take, >= 1; 1 GiB by default. The least recently used
            are removed first; the last one added always stays.

    Raises:
        RequestError: An impossible `max_bytes`.
    """

    def __init__(self, max_bytes: int = 1 << 30) -> None:
        if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 1:
            raise RequestError(f"max_bytes={max_bytes!r} is not possible.", "Use at least 1.")
        self._max_bytes = max_bytes
        self._total = 0
        self._images: OrderedDict[str, tuple[ImageRef, int]] = OrderedDict()  # latest use last
        self._lock = threading.Lock()

    def add(self, image: ImageRef) -> str:
        """Keep an image and return its handle."""
        size = image.nbytes
        with self._lock:
            _, old_size = self._images.pop(image.handle, (image, 0))
            self._images[image.handle] = (image, size)
            self._total += size - old_size
            while self._total > self._max_bytes and len(self._images) > 1:
                self._total -= self._images.popitem(last=False)[1][1]
        return image.handle

    def get(self, handle: str) -> ImageRef:
        """Return the image of a handle.

        Raises:
            ImageError: It was never added, or was removed to make room.
        """
        with self._lock:
            if handle in self._images:
                self._images.move_to_end(handle)
                return self._images[handle][0]
        raise ImageError(
            f"There is no picture {str(handle)[:80]!r} here: it was never given, or had to make "
            "room for others.",
            "Give the picture itself, or a handle (img_…) from this conversation.",
        )

    def __contains__(self, handle: object) -> bool:
        with self._lock:
            return handle in self._images

    def __len__(self) -> int:
        return len(self._images)


def shared_store() -> ImageStore:
    """Return the store of this process, the default wherever a store can be passed."""
    return _shared


_shared = ImageStore()
