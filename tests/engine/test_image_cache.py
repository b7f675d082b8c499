"""Image features under virtual token ids: encoded once, kept while in use, evicted afterwards."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image
from torch import nn

from llava_tools.engine import image_cache
from llava_tools.engine.image_cache import ImageAwareEmbedding, ImageFeatureCache
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
        return torch.arange(PATCHES).unsqueeze(1).repeat(1, 3) + 100 * shade


def _cache(encoder: Encoder, prefix_caching: bool = True) -> ImageFeatureCache:
    return ImageFeatureCache(encoder, VOCAB_SIZE, PATCHES, prefix_caching=prefix_caching)


def test_every_image_has_its_own_ids_beyond_the_vocabulary() -> None:
    cache = _cache(Encoder())
    first, second = cache.acquire(_image(1)), cache.acquire(_image(2))
    assert min(first) >= VOCAB_SIZE
    assert set(first).isdisjoint(second)
    assert cache.acquire(_image(1)) == first


def test_an_image_that_many_callers_acquire_at_once_is_encoded_once() -> None:
    encoder = Encoder()
    cache = _cache(encoder)
    barrier = threading.Barrier(8)

    def acquire(_: int) -> range:
        barrier.wait()
        return cache.acquire(_image(7))

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(acquire, range(8)))
    assert len(ids) == 1
    assert len(encoder.encoded) == 1


def test_without_prefix_caching_every_use_gets_new_ids() -> None:
    cache = _cache(Encoder(), prefix_caching=False)
    first = cache.acquire(_image(1))
    assert cache.acquire(_image(1)) != first
    cache.release(first)
    assert len(cache) == 1


def test_images_in_use_stay_and_the_least_recently_used_are_evicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_cache, "MAX_IDLE_IMAGES", 2)
    encoder = Encoder()
    cache = _cache(encoder)
    held = cache.acquire(_image(0))
    for shade in range(1, 6):
        cache.release(cache.acquire(_image(shade)))
    assert len(cache) == 3
    assert cache.acquire(_image(0)) == held
    assert cache.lookup(torch.tensor([i - VOCAB_SIZE for i in held]))[0, 0] == 0
    again = cache.acquire(_image(1))  # evicted: encoded anew, under new ids
    assert encoder.encoded.count(_image(1).handle) == 2
    assert min(again) > max(held)


def test_tokens_and_images_are_embedded_in_one_call() -> None:
    cache = _cache(Encoder())
    tokens = nn.Embedding(VOCAB_SIZE, 3)
    embedding = ImageAwareEmbedding(tokens, cache)
    first, second = cache.acquire(_image(1)), cache.acquire(_image(2))
    ids = torch.tensor([[3, second[3], first[0], 4]], dtype=torch.int32)
    with torch.no_grad():
        out = embedding(ids)[0]
        assert torch.equal(out[0], tokens.weight[3])
        assert torch.equal(out[3], tokens.weight[4])
    assert out[1, 0] == 203
    assert out[2, 0] == 100
    assert embedding.weight is tokens.weight
