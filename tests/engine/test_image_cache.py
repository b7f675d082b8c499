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

VOCABULARY = 10
PATCHES = 4


def _image(shade: int) -> ImageRef:
    return open_image(Image.new("L", (2, 2), shade))


class Encoder:
    """Features that name their image; counts how often it looks."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, image: ImageRef) -> torch.Tensor:
        self.seen.append(image.handle)
        shade = float(image.rgb().getpixel((0, 0))[0])  # type: ignore[index]
        return torch.arange(PATCHES).unsqueeze(1).repeat(1, 3) + 100 * shade


def _table(encoder: Encoder, prefix_caching: bool = True) -> ImageFeatureCache:
    return ImageFeatureCache(encoder, VOCABULARY, PATCHES, prefix_caching=prefix_caching)


def test_every_image_has_ids_of_its_own_beyond_the_vocabulary() -> None:
    table = _table(Encoder())
    first, second = table.acquire(_image(1)), table.acquire(_image(2))
    assert min(first) >= VOCABULARY
    assert set(first).isdisjoint(second)
    assert table.acquire(_image(1)) == first


def test_a_image_is_encoded_once_even_when_many_bring_it_together() -> None:
    encoder = Encoder()
    table = _table(encoder)
    barrier = threading.Barrier(8)

    def bring(_: int) -> range:
        barrier.wait()
        return table.acquire(_image(7))

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(bring, range(8)))
    assert len(ids) == 1
    assert len(encoder.seen) == 1


def test_without_reuse_a_image_is_never_found_again() -> None:
    table = _table(Encoder(), prefix_caching=False)
    first = table.acquire(_image(1))
    assert table.acquire(_image(1)) != first
    table.release(first)
    assert len(table) == 1


def test_images_in_use_stay_and_the_others_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache, "KEEP", 2)
    encoder = Encoder()
    table = _table(encoder)
    held = table.acquire(_image(0))
    for shade in range(1, 6):
        table.release(table.acquire(_image(shade)))
    assert len(table) == 3
    assert table.acquire(_image(0)) == held
    assert table.lookup(torch.tensor([i - VOCABULARY for i in held]))[0, 0] == 0
    again = table.acquire(_image(1))  # long gone: encoded anew, under new ids
    assert encoder.seen.count(_image(1).handle) == 2
    assert min(again) > max(held)


def test_words_and_images_are_embedded_side_by_side() -> None:
    table = _table(Encoder())
    words = nn.Embedding(VOCABULARY, 3)
    embedding = ImageAwareEmbedding(words, table)
    one, two = table.acquire(_image(1)), table.acquire(_image(2))
    ids = torch.tensor([[3, two[3], one[0], 4]], dtype=torch.int32)
    with torch.no_grad():
        out = embedding(ids)[0]
        assert torch.equal(out[0], words.weight[3])
        assert torch.equal(out[3], words.weight[4])
    assert out[1, 0] == 203
    assert out[2, 0] == 100
    assert embedding.weight is words.weight
