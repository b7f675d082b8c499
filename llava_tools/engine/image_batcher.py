"""Batches images that wait for the vision tower.

A GPU encodes several images in little more time than one. A caller that finds the tower free
encodes its own image together with those that already wait; it never waits for more to come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

#: Images of a batch on CUDA; a CPU gains nothing from more than one.
MAX_IMAGES = 8


@dataclass(eq=False)
class _WaitingImage:
    pixels: torch.Tensor  # [3, size, size]
    features: torch.Tensor | None = None  # [tokens, hidden], once it was encoded
    alone: bool = False  # whether its batch failed; its next batch then holds no other image


class ImageBatcher:
    """Encodes images for many callers.

    Args:
        encode: [images, 3, size, size] to each image's features [tokens, hidden]; called by one
            thread at a time.
        max_images: Images of a batch, at least 1.
    """

    def __init__(
        self, encode: Callable[[torch.Tensor], Iterable[torch.Tensor]], max_images: int
    ) -> None:
        self._encode = encode
        self._max_images = max_images
        self._waiting: list[_WaitingImage] = []
        self._waiting_lock = threading.Lock()
        self._tower_lock = threading.Lock()

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features [tokens, hidden] of an image [3, size, size].

        If a batch of several fails, its images are tried again one by one, so that an error reaches
        only the caller of its image.
        """
        image = _WaitingImage(pixels)
        with self._waiting_lock:
            self._waiting.append(image)
        with self._tower_lock:
            while image.features is None:  # the previous caller may have encoded it already
                self._run_batch(image)
        return image.features

    def _run_batch(self, image: _WaitingImage) -> None:
        """Encode an image and some that wait; if several fail, each gets a batch of its own."""
        with self._waiting_lock:
            others = [item for item in self._waiting if item is not image and not item.alone]
            batch = [image, *([] if image.alone else others[: self._max_images - 1])]
            self._waiting = [item for item in self._waiting if item not in batch]
        try:
            features = self._encode(torch.stack([item.pixels for item in batch]))
        except BaseException as error:
            with self._waiting_lock:
                for item in batch:
                    item.alone = True
                self._waiting += batch[1:]
            if len(batch) == 1 or not isinstance(error, Exception):
                raise
            return
        for item, encoded in zip(batch, features, strict=True):
            item.features = encoded
