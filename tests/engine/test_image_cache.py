"""Image features under virtual token ids: encoded once, and kept while they are used."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

from llava_tools.engine.image_cache import EncodedImage, ImageFeatureCache
from llava_tools.images import ImageRef, open_image

VOCAB_SIZE = 10
PATCHES = 4


def _image(shade: int) -> ImageRef:
    return open_image(Image.new("L", (2, 2), shade))


class Encoder:
    """Returns features that identify their image, and records what it encodes."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def __call__(self, image: ImageRef) -> torch.Tensor:
        self.encoded.append(image.handle)
        shade = float(image.rgb().getpixel((0, 0))[0])  # type: ignore[index]
        return torch.full((PATCHES, 3), shade)


def _cache(encoder: Encoder, prefix_caching: bool = True) -> ImageFeatureCache:
    return ImageFeatureCache(encoder, VOCAB_SIZE, PATCHES, prefix_caching=prefix_caching)


def test_every_image_has_its_own_ids_beyond_the_vocabulary() -> None:
    cache = _cache(Encoder())
    first, second = cache.get(_image(1)), cache.get(_image(2))
    assert min(first.ids) >= VOCAB_SIZE
    assert len(first.ids) == PATCHES
    assert set(first.ids).isdisjoint(second.ids)
    assert cache.get(_image(1)) is first
    assert [float(item.features[0, 0]) for item in (first, second)] == [1, 2]


def test_an_image_that_many_callers_get_at_once_is_encoded_once() -> None:
    encoder = Encoder()
    cache = _cache(encoder)
    barrier = threading.Barrier(8)

    def get(_: int) -> EncodedImage:
        barrier.wait()
        return cache.get(_image(7))

    with ThreadPoolExecutor(8) as pool:
        ids = {encoded.ids for encoded in pool.map(get, range(8))}
    assert len(ids) == 1
    assert len(encoder.encoded) == 1


def test_an_image_that_fails_is_tried_again() -> None:
    def fail(image: ImageRef) -> torch.Tensor:
        raise MemoryError

    cache = ImageFeatureCache(fail, VOCAB_SIZE, PATCHES, prefix_caching=True)
    for _ in range(2):
        with pytest.raises(MemoryError):
            cache.get(_image(1))
    assert len(cache) == 0


def test_without_prefix_caching_every_use_gets_new_ids_and_nothing_is_kept() -> None:
    cache = _cache(Encoder(), prefix_caching=False)
    assert cache.get(_image(1)).ids != cache.get(_image(1)).ids
    assert len(cache) == 0


def test_the_least_recently_used_images_are_dropped() -> None:
    encoder = Encoder()
    cache = ImageFeatureCache(encoder, VOCAB_SIZE, PATCHES, 2, prefix_caching=True)
    first = cache.get(_image(0))
    cache.get(_image(1))
    cache.get(_image(0))
    last = cache.get(_image(2))
    assert len(cache) == 2
    assert cache.get(_image(0)) is first
    assert cache.get(_image(1)).ids.start > last.ids.start
    assert encoder.encoded.count(_image(1).handle) == 2
