"""`ImageStore` keeps images by handle, up to a number of bytes."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from llava_tools.errors import ImageError, ImageStoreError, RequestError
from llava_tools.images import ImageRef, open_image
from llava_tools.images import store as store_module
from llava_tools.images.store import ImageStore, shared_store
from tests.strategies import encoded, make_image

#: Bytes of an image of 2 x 2 pixels.
SIZE = 12


def test_get_returns_the_added_image() -> None:
    store = ImageStore()
    image = make_image(1)
    assert image.handle not in store
    handle = store.add(image)
    assert handle == image.handle
    assert handle in store
    assert store.get(handle) is image


@pytest.mark.parametrize(
    "name", ["img_0123456789abcdef01234567", "/etc/passwd", "file:///etc/passwd", "", "img_*"]
)
def test_unknown_name_raises_with_a_hint(name: str) -> None:
    with pytest.raises(ImageError, match="Give the picture itself") as caught:
        ImageStore().get(name)
    assert repr(name) in str(caught.value)


def test_least_recently_used_image_is_removed_first() -> None:
    store = ImageStore(max_bytes=2 * SIZE)
    first, second, third = (store.add(make_image(shade)) for shade in range(3))
    assert first not in store
    store.get(second)
    fourth = store.add(make_image(4))
    assert third not in store
    assert second in store
    assert fourth in store


@pytest.mark.parametrize("in_memory", [True, False])
def test_handles_are_listed_by_their_last_use(in_memory: bool, tmp_path: Path) -> None:
    store = ImageStore(directory=None if in_memory else tmp_path)
    assert store.handles() == []
    first, second, third = (store.add(make_image(shade)) for shade in range(3))
    store.get(first)
    assert store.handles() == [second, third, first]


def test_same_image_counts_once() -> None:
    store = ImageStore(max_bytes=2 * SIZE)
    for _ in range(5):
        store.add(make_image(1))
    store.add(make_image(2))
    assert len(store) == 2


def test_last_image_stays_however_large() -> None:
    store = ImageStore(max_bytes=1)
    handle = store.add(make_image(1))
    assert store.get(handle).size == (2, 2)


def test_nbytes_of_pixels_and_files() -> None:
    pixels = open_image(Image.new("RGB", (30, 20)))
    assert pixels.nbytes == 1800
    assert open_image(pixels.data).nbytes == len(pixels.data)
    assert pixels.nbytes == 1800 + len(pixels.data)


@pytest.mark.parametrize("max_bytes", [0, -1, True, 1.5, "1"])
def test_impossible_max_bytes_is_refused(max_bytes: object) -> None:
    with pytest.raises(RequestError, match="max_bytes"):
        ImageStore(max_bytes)


def test_concurrent_use() -> None:
    store = ImageStore(max_bytes=10 * SIZE)
    barrier = threading.Barrier(4)

    def use(offset: int) -> list[ImageRef]:
        barrier.wait()
        kept = []
        for shade in range(200):
            image = make_image((shade + offset) % 256)
            store.add(image)
            if image.handle in store:
                kept.append(image)
        return kept

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(0, 200, 50)))
    assert len(store) == 10


def test_shared_store_is_one_per_process() -> None:
    assert shared_store() is shared_store()
    file = open_image(encoded(Image.new("RGB", (3, 3)), "PNG"))
    assert shared_store().get(shared_store().add(file)) == file


def test_environment_names_the_directory_of_the_shared_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_shared", None)
    monkeypatch.setenv("LLAVA_IMAGE_STORE", str(tmp_path / "images"))
    handle = shared_store().add(make_image(1))
    assert (tmp_path / "images" / handle).exists()
    assert shared_store().directory == tmp_path / "images"
    monkeypatch.setattr(store_module, "_shared", None)
    monkeypatch.setenv("LLAVA_IMAGE_STORE", "")
    assert shared_store().directory is None


def test_remove_and_clear() -> None:
    store = ImageStore(max_bytes=3 * SIZE)
    handles = [store.add(make_image(shade)) for shade in range(3)]
    store.remove(handles[1])
    store.remove(handles[1])
    assert [handle in store for handle in handles] == [True, False, True]
    store.add(make_image(9))
    assert len(store) == 3  # the room of the removed one
    store.clear()
    assert len(store) == 0
    for shade in range(3):
        store.add(make_image(shade))
    assert len(store) == 3


def test_a_directory_without_locks_of_posix_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    monkeypatch.setitem(sys.modules, "llava_tools.images.directory", None)
    with pytest.raises(ImageStoreError, match=r"which Windows lacks\. Leave out its directory"):
        ImageStore(directory=tmp_path / "images")
    assert not (tmp_path / "images").exists()
    assert len(ImageStore()) == 0
