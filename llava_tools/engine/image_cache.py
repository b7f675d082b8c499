"""Image features, and the virtual token ids under which the language model finds them.

The scheduler takes token ids only. Every image therefore gets ids of its own beyond the vocabulary,
`vocab_size + serial * tokens_per_image + patch`, and the language model's input embedding looks
them up among the projected features. Batching, chunked prefill and prefix caching then work on
images without knowing them: two prompts share KV exactly where they share images.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from llava_tools.errors import EngineError
from llava_tools.images import ImageRef

#: Images kept after their last request ended; 4.5 MiB each for the 7B in 16 bit.
MAX_IDLE_IMAGES = 128


@dataclass
class _Entry:
    handle: str
    serial: int
    features: torch.Tensor
    users: int = 0


class ImageFeatureCache:
    """Features of the images in use and of those used last.

    Args:
        encode: An image to its projected features, [tokens_per_image, hidden], on the model's
            device. Several threads call it at a time, but never for the same image.
        vocab_size: Rows of the language model's embedding; virtual ids begin there.
        tokens_per_image: Virtual ids of an image.
        prefix_caching: Whether a repeated image gets the same ids. If not, every use is encoded
            anew and dropped when its request ends.
    """

    def __init__(
        self,
        encode: Callable[[ImageRef], torch.Tensor],
        vocab_size: int,
        tokens_per_image: int,
        *,
        prefix_caching: bool,
    ) -> None:
        self.tokens_per_image = tokens_per_image
        self._encode = encode
        self._vocab_size = vocab_size
        self._max_idle = MAX_IDLE_IMAGES if prefix_caching else 0
        self._by_serial: OrderedDict[int, _Entry] = OrderedDict()  # least recently used first
        self._by_handle: dict[str, _Entry] = {}
        self._next_serial = 0
        self._encoding: set[str] = set()  # handles of images that a caller encodes at the moment
        self._lock = threading.Condition()  # notified when one of them is done

    def acquire(self, image: ImageRef) -> range:
        """Return the image's virtual ids, encoding it if it is new, and keep it until released.

        Raises:
            ImageError: The image cannot be decoded.
            EngineError: No virtual ids are left.
        """
        with self._lock:
            self._lock.wait_for(lambda: image.handle not in self._encoding)
            entry = self._by_handle.get(image.handle)
            if entry is None:
                self._encoding.add(image.handle)
            else:
                entry.users += 1
                self._by_serial.move_to_end(entry.serial)
        if entry is None:
            try:
                entry = self._add(image, self._encode(image))
            finally:
                with self._lock:
                    self._encoding.remove(image.handle)
                    self._lock.notify_all()
        begin = self._vocab_size + entry.serial * self.tokens_per_image
        return range(begin, begin + self.tokens_per_image)

    def release(self, ids: range) -> None:
        """End one request's use of an image, and drop the least recently used of too many idle."""
        serial = (ids.start - self._vocab_size) // self.tokens_per_image
        with self._lock:
            self._by_serial[serial].users -= 1
            idle = [entry for entry in self._by_serial.values() if entry.users == 0]
            for entry in idle[: max(0, len(idle) - self._max_idle)]:
                del self._by_serial[entry.serial]
                if self._by_handle.get(entry.handle) is entry:
                    del self._by_handle[entry.handle]

    def lookup(self, offsets: torch.Tensor) -> torch.Tensor:
        """Return features, [n, hidden] in the model's dtype, for int offsets [n].

        An offset is a virtual id minus the vocabulary's size.
        """
        serials = offsets // self.tokens_per_image
        patches = (offsets % self.tokens_per_image).long()
        present, index = serials.unique(return_inverse=True)
        features = torch.stack([self._by_serial[int(s)].features for s in present.tolist()])
        return features[index, patches]

    def __len__(self) -> int:
        return len(self._by_serial)

    def _add(self, image: ImageRef, features: torch.Tensor) -> _Entry:
        with self._lock:
            entry = _Entry(image.handle, self._next_serial, features, users=1)
            end = self._vocab_size + (entry.serial + 1) * self.tokens_per_image
            if end > torch.iinfo(torch.int32).max:  # continuous batching holds ids as int32
                raise EngineError(
                    f"This engine has encoded {entry.serial} images and has no ids for another.",
                    "Close it and make a new one.",
                )
            self._next_serial += 1
            self._by_serial[entry.serial] = entry
            if self._max_idle:
                self._by_handle[image.handle] = entry
            return entry


class ImageAwareEmbedding(nn.Module):
    """An input embedding that also takes the virtual ids of images."""

    def __init__(self, token_embedding: nn.Embedding, images: ImageFeatureCache) -> None:
        super().__init__()
        self.token_embedding = token_embedding
        self._images = images

    @property
    def weight(self) -> torch.Tensor:
        """The matrix of the token embedding, [vocab_size, hidden]."""
        return self.token_embedding.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return embeddings [..., hidden] for ids [...], some of which may be virtual."""
        vocab_size = self.token_embedding.num_embeddings
        virtual = ids >= vocab_size
        embedded: torch.Tensor = self.token_embedding(ids.masked_fill(virtual, 0))
        if bool(virtual.any()):
            embedded[virtual] = self._images.lookup(ids[virtual] - vocab_size).to(embedded.dtype)
        return embedded
