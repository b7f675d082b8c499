"""Image features, and the virtual token ids that stand for images in prompts.

Every image gets ids of its own beyond the vocabulary, `vocab_size + serial * tokens_per_image +
patch`. Prefix caching then works on images without knowing them: two prompts share KV exactly where
they share images. A request holds the features of its images itself, so the cache may drop them at
any time.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch

from llava_tools.images import ImageRef

#: Images that are kept where memory is plentiful, those used last; 4.5 MiB each for the 7B in 16
#: bit.
MAX_IMAGES = 128


@dataclass(frozen=True)
class EncodedImage:
    """An image as the language model reads it.

    Attributes:
        ids: Its virtual ids.
        features: Its projected features, [tokens, hidden].
    """

    ids: range
    features: torch.Tensor


class ImageFeatureCache:
    """The images that were used last.

    Args:
        encode: An image to its projected features, [tokens_per_image, hidden], on the model's
            device. Several threads call it at a time, but never for the same image.
        vocab_size: Rows of the language model's embedding; virtual ids begin there.
        tokens_per_image: Virtual ids of an image.
        max_images: Images that are kept.
        prefix_caching: Whether a repeated image gets the same ids. If not, every use is encoded
            anew.
    """

    def __init__(
        self,
        encode: Callable[[ImageRef], torch.Tensor],
        vocab_size: int,
        tokens_per_image: int,
        max_images: int = MAX_IMAGES,
        *,
        prefix_caching: bool,
    ) -> None:
        self._encode = encode
        self._vocab_size = vocab_size
        self._tokens_per_image = tokens_per_image
        self._max_images = max_images
        self._prefix_caching = prefix_caching
        self._images: OrderedDict[str, EncodedImage] = OrderedDict()  # by handle, oldest use first
        self._serials = itertools.count()
        self._encoding: set[str] = set()  # handles of images that a caller encodes at the moment
        self._lock = threading.Condition()  # notified when one of them is done

    def get(self, image: ImageRef) -> EncodedImage:
        """Return an image's ids and features, encoding it if it is new.

        Raises:
            ImageError: The image cannot be decoded.
        """
        if not self._prefix_caching:
            return self._new(image)
        handle = image.handle
        with self._lock:
            self._lock.wait_for(lambda: handle not in self._encoding)
            if handle in self._images:
                self._images.move_to_end(handle)
                return self._images[handle]
            self._encoding.add(handle)
        try:
            encoded = self._new(image)
            with self._lock:
                self._images[handle] = encoded
                if len(self._images) > self._max_images:
                    self._images.popitem(last=False)
        finally:
            with self._lock:
                self._encoding.remove(handle)
                self._lock.notify_all()
        return encoded

    def new_ids(self) -> range:
        """Return virtual ids for an image, which no prompt has yet."""
        with self._lock:
            begin = self._vocab_size + next(self._serials) * self._tokens_per_image
        return range(begin, begin + self._tokens_per_image)

    def __len__(self) -> int:
        return len(self._images)

    def _new(self, image: ImageRef) -> EncodedImage:
        features = self._encode(image)
        return EncodedImage(self.new_ids(), features)
