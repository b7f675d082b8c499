"""An `ImageStore` with a directory: files that outlive the process and that processes share."""

from __future__ import annotations

import copy
import os
import pickle
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from llava_tools.errors import ImageError, ImageStoreError, RequestError
from llava_tools.images import ImageRef, ImageWarning, directory, open_image
from llava_tools.images.memory import MemoryImages
from llava_tools.images.store import ImageStore, open_store
from tests.strategies import encoded, make_image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its locks are POSIX's")
ROOT = Path(__file__).parent.parent.parent
#: Bytes of each image of `make_image` as a file, but for black ones.
SIZE = len(make_image(255).data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes the next `get` read the file."""
    return lambda: monkeypatch.setattr(directory, "_recent", MemoryImages(1 << 20))


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


@pytest.mark.parametrize(
    "image",
    [
        open_image(Image.new("RGB", (7, 5), "red")),
        open_image(encoded(Image.new("RGB", (7, 5), "red"), "PNG")),
        open_image(encoded(Image.new("RGB", (7, 5), "red"), "JPEG")),
        open_image(encoded(Image.new("I;16", (7, 5), 900), "PNG")),
        open_image(encoded(Image.new("RGB", (7, 5), "red"), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08"
                   b"\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0")),
    ],
    ids=["pixels", "png", "jpeg", "16 bit", "turned"],
)  # fmt: skip
def test_another_store_of_the_directory_returns_an_equal_image(
    image: ImageRef, folder: Path
) -> None:
    handle = ImageStore(directory=folder).add(image)
    again = ImageStore(directory=str(folder)).get(handle)
    assert again == image
    assert (again.size, again.media_type) == (image.size, image.media_type)
    assert again.data == image.data
    assert again.rgb().tobytes() == image.rgb().tobytes()
    assert _files(folder) == {handle}


def test_source_of_an_image_is_not_kept(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "private name.png").write_bytes(encoded(Image.new("RGB", (2, 2)), "PNG"))
    store = ImageStore(directory=folder)
    handle = store.add(open_image(tmp_path / "private name.png"))
    assert store.get(handle).source == handle


def test_folder_and_files_are_their_owner_s_alone(folder: Path) -> None:
    store = ImageStore(directory=folder / "deeper")
    handle = store.add(make_image(1))
    assert stat.S_IMODE((folder / "deeper").stat().st_mode) == 0o700
    for name in (handle, ".lock"):
        assert stat.S_IMODE((folder / "deeper" / name).stat().st_mode) == 0o600


def test_least_recently_used_file_is_removed_first(folder: Path) -> None:
    store, other = (ImageStore(2 * SIZE, folder) for _ in range(2))
    first, second, third = (store.add(make_image(shade)) for shade in (1, 2, 3))
    assert _files(folder) == {second, third}
    assert first not in other
    other.get(second)
    fourth = store.add(make_image(4))
    assert _files(folder) == {second, fourth}
    other.add(make_image(2))  # `second` once more, which counts as a use
    fifth = store.add(make_image(5))
    assert _files(folder) == {second, fifth}
    assert len(store) == 2


@pytest.mark.parametrize("lost", ["file", "sum", "too high"])
def test_limit_holds_when_files_or_the_sum_of_their_bytes_are_lost(lost: str, folder: Path) -> None:
    store = ImageStore(3 * SIZE, folder)
    handles = [store.add(make_image(shade)) for shade in (1, 2, 3)]
    if lost == "file":
        (folder / handles[1]).unlink()
    else:
        (folder / ".lock").write_text("" if lost == "sum" else "9" * 12)
    for shade in range(4, 10):
        handles.append(store.add(make_image(shade)))
    assert _files(folder) == set(handles[-3:])
    for handle in handles[-3:]:
        store.remove(handle)
    assert int((folder / ".lock").read_text()) == 0


def test_files_are_listed_only_to_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "_MANY", 20)
    listings = []
    original = directory.DirectoryImages._files

    def listed(self: directory.DirectoryImages) -> list[tuple[int, int, str]]:
        listings.append(self)
        return original(self)

    monkeypatch.setattr(directory.DirectoryImages, "_files", listed)
    store = ImageStore(32 * SIZE, folder)
    for shade in range(1, 33):
        store.add(make_image(shade))
    assert len(listings) == 1  # for the first sum
    for shade in range(33, 73):
        store.add(make_image(shade))
    assert len(_files(folder)) in (30, 31, 32)
    assert len(listings) < 20
    assert store.get(make_image(72).handle) == make_image(72)


def test_last_file_stays_however_large(folder: Path) -> None:
    store = ImageStore(1, folder)
    store.add(make_image(1))
    handle = store.add(make_image(2))
    assert _files(folder) == {handle}
    assert store.get(handle) == make_image(2)


def test_remove_and_clear(folder: Path) -> None:
    store = ImageStore(directory=folder)
    handles = [store.add(make_image(shade)) for shade in range(3)]
    (folder / "notes.txt").write_text("not an image")
    store.remove(handles[0])
    store.remove(handles[0])
    assert _files(folder) == {*handles[1:], "notes.txt"}
    with pytest.raises(ImageError, match="no picture"):
        store.get(handles[0])
    store.clear()
    assert _files(folder) == {"notes.txt"}
    assert len(store) == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        encoded(Image.new("RGB", (50, 50)), "PNG")[:-20],
        encoded(Image.new("RGB", (3, 3)), "PNG"),  # a good image, but another one
        b"#!/bin/sh\n",
    ],
    ids=["empty", "cut off", "another", "no image"],
)
def test_damaged_file_raises_and_is_removed(
    content: bytes, folder: Path, forget: Callable[[], None]
) -> None:
    store = ImageStore(directory=folder)
    handle = store.add(make_image(1))
    (folder / handle).write_bytes(content)
    forget()
    with pytest.raises(ImageError, match=r"was damaged, and is removed.*Give the picture"):
        store.get(handle)
    assert _files(folder) == set()
    store.add(make_image(1))
    assert store.get(handle) == make_image(1)


def test_adding_again_mends_a_file_that_is_cut_off(
    folder: Path, forget: Callable[[], None]
) -> None:
    store = ImageStore(directory=folder)
    handle = store.add(make_image(1))
    (folder / handle).write_bytes(make_image(1).data[:9])
    store.add(make_image(1))
    forget()
    assert store.get(handle) == make_image(1)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_regular_file_is_not_opened(kind: str, folder: Path, tmp_path: Path) -> None:
    store = ImageStore(directory=folder)
    path = folder / make_image(1).handle
    if kind == "link":
        (tmp_path / "secret.png").write_bytes(make_image(1).data)
        path.symlink_to(tmp_path / "secret.png")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert path.name not in store
    with pytest.raises(ImageError, match="no picture"):
        store.get(path.name)
    assert len(store) == 0


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/hostname", ".lock", "", "img_", "img_" + "F" * 24, "\0", "."]
)
def test_other_names_than_handles_lead_nowhere(name: str, folder: Path) -> None:
    store = ImageStore(directory=folder)
    store.add(make_image(1))
    (folder.parent / "secret.png").write_bytes(make_image(2).data)
    store.remove(name)
    assert name not in store
    with pytest.raises(ImageError, match="no picture"):
        store.get(name)
    assert (folder.parent / "secret.png").exists()
    assert len(store) == 1


def test_leftover_of_a_killed_process_is_removed(folder: Path) -> None:
    store = ImageStore(SIZE, folder)
    store.add(make_image(1))
    (folder / ".tmp-1234").write_bytes(b"half an im")
    handle = store.add(make_image(2))  # makes room
    assert _files(folder) == {handle}
    (folder / ".tmp-1234").write_bytes(b"half an im")
    store.clear()
    assert _files(folder) == set()


def test_warning_about_frames_is_for_the_first_opening_only(
    folder: Path, forget: Callable[[], None]
) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    with pytest.warns(ImageWarning):
        image = open_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    store = ImageStore(directory=folder)
    store.add(image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.get(image.handle) == image


def test_a_file_larger_than_those_that_are_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llava_tools.images.sources.MAX_BYTES", SIZE - 1)
    with pytest.raises(ImageError, match=r"PIL image has .* bytes"):
        ImageStore(directory=folder).add(make_image(1))


@pytest.mark.parametrize("value", ["", 3, "\0", b"images"])
def test_impossible_directory_is_refused(value: object) -> None:
    with pytest.raises(RequestError, match="not possible as an image store"):
        open_store(value)


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageStoreError, match="cannot be made: File exists"):
        ImageStore(directory=tmp_path / "file")


def test_folder_that_disappeared_is_named(folder: Path) -> None:
    store = ImageStore(directory=folder)
    handle = store.add(make_image(1))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(ImageStoreError, match=r"images', is gone. Make it again"):
        store.add(make_image(1))
    with pytest.raises(ImageError, match="no picture"):
        store.get(handle)


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_named(folder: Path) -> None:
    store = ImageStore(directory=folder)
    folder.chmod(0o500)
    with pytest.raises(ImageStoreError, match=r"cannot be written: Permission denied"):
        store.add(make_image(1))
    folder.chmod(0o700)


def test_copies_share_the_directory(folder: Path) -> None:
    store = ImageStore(directory=folder)
    handle = store.add(make_image(1))
    for again in (copy.deepcopy(store), pickle.loads(pickle.dumps(store))):
        assert again.get(handle) == make_image(1)
        assert repr(again) == repr(store)


def test_store_in_memory_cannot_be_pickled_but_is_shared_by_copies() -> None:
    store = ImageStore()
    assert copy.deepcopy(store) is store
    with pytest.raises(TypeError, match="Give it a directory"):
        pickle.dumps(store)


def test_threads_may_use_one_store(folder: Path) -> None:
    store = ImageStore(8 * SIZE, folder)

    def use(offset: int) -> None:
        for shade in range(offset, offset + 25):
            store.add(make_image(shade))
            with suppress(ImageError):  # the others needed its room
                assert store.get(make_image(shade).handle) == make_image(shade)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(1, 101, 25)))
    assert len(store) == 8


ADDER = """
import sys
from llava_tools.errors import ImageError
from llava_tools.images.store import ImageStore
from tests.strategies import make_image
folder, size, offset = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store, found = ImageStore(size, folder), 0
for step in range(120):
    shade = (offset + step) % 200
    handle = store.add(make_image(shade))
    for number in (shade, (shade + 37) % 200):
        try:
            assert store.get(make_image(number).handle) == make_image(number)
            found += 1
        except ImageError as error:
            assert "no picture" in str(error), error
    if step % 40 == 39:
        store.remove(handle)
    if step == 60:
        store.clear()
print(found)
"""


@pytest.mark.slow
def test_processes_add_and_evict_at_once(folder: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ADDER, str(folder), str(20 * SIZE), str(offset)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for offset in (0, 50, 100, 150)
    ]  # fmt: skip
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        assert int(out) >= 100
    names = _files(folder)
    assert 0 < len(names) <= 20
    store = ImageStore(directory=folder)
    assert names == {store.get(name).handle for name in names}
