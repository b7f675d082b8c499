"""`MemoryImages`: images in the memory of this process, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict

from llava_tools.images.ref import ImageRef


class MemoryImages:
    """The images in memory. Safe to use from many threads.

    Args:
        max_bytes: Bytes of all images; the least recently used go first, the last one added stays.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._total = 0
        self._images: OrderedDict[str, tuple[ImageRef, int]] = OrderedDict()  # latest use last
        self._lock = threading.Lock()

    def add(self, image: ImageRef) -> None:
        """Keep an image, or mark it as used if it is there."""
        size = image.nbytes
        with self._lock:
            _, old_size = self._images.pop(image.handle, (image, 0))
            self._images[image.handle] = (image, size)
            self._total += size - old_size
            while self._total > self._max_bytes and len(self._images) > 1:
                self._total -= self._images.popitem(last=False)[1][1]

    def get(self, handle: str) -> ImageRef | None:
        """Return an image and mark it as used; None if it is not there."""
        with self._lock:
            if handle not in self._images:
                return None
            self._images.move_to_end(handle)
            return self._images[handle][0]

    def remove(self, handle: str) -> None:
        """Remove an image, if it is there."""
        with self._lock:
            self._total -= self._images.pop(handle, (None, 0))[1]

    def clear(self) -> None:
        """Remove all images."""
        with self._lock:
            self._images.clear()
            self._total = 0

    def handles(self) -> list[str]:
        """Return the handles of all images, the least recently used first."""
        with self._lock:
            return list(self._images)

    def __contains__(self, handle: object) -> bool:
        with self._lock:
            return handle in self._images

    def __len__(self) -> int:
        return len(self._images)
