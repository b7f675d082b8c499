"""Images to features, and the virtual token ids under which the language model finds them.

Continuous batching takes token ids only. Every image therefore gets ids of its own beyond the
vocabulary, `vocabulary + serial * tokens_per_image + patch`, and the language model's input
embedding looks them up in a table of projected features. Batching, chunked prefill and prefix
sharing then work on images as they are: two prompts share KV exactly where they share images.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from llava_tools.errors import EngineError
from llava_tools.images import ImageRef

#: Images kept after their last request ended; 4.5 MiB each for the 7B in 16 bit.
KEEP = 128


@dataclass
class _Entry:
    handle: str
    serial: int
    features: torch.Tensor
    users: int = 0


@dataclass
class _Coming:
    """An image that callers bring, one after the other."""

    turn: threading.Lock = field(default_factory=threading.Lock)
    callers: int = 0


class ImageFeatureCache:
    """Features of the images in use and of those used last.

    Args:
        encode: An image to its projected features, [tokens_per_image, hidden], on the model's
            device. Called by several threads at a time, but not about the same image.
        vocabulary: Rows of the language model's embedding; virtual ids begin there.
        tokens_per_image: What an image costs.
        reuse: Whether an image that comes again is found again.
    """

    def __init__(
        self,
        encode: Callable[[ImageRef], torch.Tensor],
        vocabulary: int,
        tokens_per_image: int,
        *,
        prefix_caching: bool,
    ) -> None:
        self.tokens_per_image = tokens_per_image
        self._encode = encode
        self._vocabulary = vocabulary
        self._keep = KEEP if prefix_caching else 0
        self._by_serial: OrderedDict[int, _Entry] = OrderedDict()  # least recently used first
        self._by_handle: dict[str, _Entry] = {}
        self._next_serial = 0
        self._lock = threading.Lock()  # the table
        self._coming: dict[str, _Coming] = {}

    def acquire(self, image: ImageRef) -> range:
        """Return the image's virtual ids, encoding it if it is new, and keep it until released.

        Raises:
            ImageError: The image cannot be decoded.
        """
        found = self._use(image)
        if found is None:
            with self._first_of(image):
                found = self._use(image) or self._add(image, self._encode(image))
        begin = self._vocabulary + found.serial * self.tokens_per_image
        return range(begin, begin + self.tokens_per_image)

    def release(self, ids: range) -> None:
        """Say that a request no longer needs an image that it acquired."""
        serial = (ids.start - self._vocabulary) // self.tokens_per_image
        with self._lock:
            self._by_serial[serial].users -= 1
            self._evict()

    def lookup(self, offsets: torch.Tensor) -> torch.Tensor:
        """Return features for virtual ids.

        Args:
            offsets: int [n], virtual ids less the size of the vocabulary.

        Returns:
            [n, hidden] in the model's dtype.
        """
        serials = offsets // self.tokens_per_image
        patches = (offsets % self.tokens_per_image).long()
        present, where = serials.unique(return_inverse=True)
        tables = torch.stack([self._by_serial[int(s)].features for s in present.tolist()])
        return tables[where, patches]

    def __len__(self) -> int:
        return len(self._by_serial)

    @contextmanager
    def _first_of(self, image: ImageRef) -> Iterator[None]:
        """Keep an image from being encoded twice when several callers bring it at once."""
        with self._lock:
            coming = self._coming.setdefault(image.handle, _Coming())
            coming.callers += 1
        try:
            with coming.turn:
                yield
        finally:
            with self._lock:
                coming.callers -= 1
                if not coming.callers:
                    del self._coming[image.handle]

    def _use(self, image: ImageRef) -> _Entry | None:
        with self._lock:
            entry = self._by_handle.get(image.handle)
            if entry is not None:
                entry.users += 1
                self._by_serial.move_to_end(entry.serial)
            return entry

    def _add(self, image: ImageRef, features: torch.Tensor) -> _Entry:
        with self._lock:
            entry = _Entry(image.handle, self._next_serial, features, users=1)
            last = self._vocabulary + (entry.serial + 1) * self.tokens_per_image
            if last > torch.iinfo(torch.int32).max:  # continuous batching holds ids as int32
                raise EngineError(
                    f"This engine has seen {entry.serial} pictures and has no ids for another.",
                    "Close it and make a new one.",
                )
            self._next_serial += 1
            self._by_serial[entry.serial] = entry
            if self._keep:
                self._by_handle[image.handle] = entry
            return entry

    def _evict(self) -> None:
        """Drop the images used least recently beyond those that are kept; the lock is held."""
        idle = [entry for entry in self._by_serial.values() if entry.users == 0]
        for entry in idle[: max(0, len(idle) - self._keep)]:
            del self._by_serial[entry.serial]
            if self._by_handle.get(entry.handle) is entry:
                del self._by_handle[entry.handle]


class ImageAwareEmbedding(nn.Module):
    """An input embedding that also knows the virtual ids of images."""

    def __init__(self, words: nn.Embedding, images: ImageFeatureCache) -> None:
        super().__init__()
        self.words = words
        self._images = images

    @property
    def weight(self) -> torch.Tensor:
        """The words' embedding matrix, [vocabulary, hidden]."""
        return self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return embeddings [..., hidden] for ids [...], some of which may be virtual."""
        vocabulary = self.words.num_embeddings
        virtual = ids >= vocabulary
        embedded: torch.Tensor = self.words(ids.masked_fill(virtual, 0))
        if bool(virtual.any()):
            embedded[virtual] = self._images.lookup(ids[virtual] - vocabulary).to(embedded.dtype)
        return embedded
