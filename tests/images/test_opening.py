"""Files are checked when they are open: a path that changes in between leads nowhere else."""

from __future__ import annotations

import ntpath
import os
import sys
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

import pytest

from llava_tools.errors import DocumentError, ImageError
from llava_tools.finetune import records
from llava_tools.images import open_image
from llava_tools.images.access import ImageResolver
from llava_tools.images.opening import (
    leads_to_another_computer,
    open_regular,
    open_regular_within,
)
from llava_tools.retrieval import load_pages
from tests.strategies import make_image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need permissions there")


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """A folder with an image, beside a secret one."""
    folder = tmp_path.resolve() / "allowed"
    (folder / "deeper").mkdir(parents=True)
    (folder / "deeper" / "a.png").write_bytes(make_image(1).data)
    (folder.parent / "secret").mkdir()
    (folder.parent / "secret" / "a.png").write_bytes(make_image(2).data)
    return folder


def swap_file(allowed: Path) -> None:
    """Replace the image by a link to the secret one."""
    (allowed / "deeper" / "a.png").unlink()
    (allowed / "deeper" / "a.png").symlink_to(allowed.parent / "secret" / "a.png")


def swap_folder(allowed: Path) -> None:
    """Replace the image's folder by a link to the secret one."""
    (allowed / "deeper").rename(allowed / "away")
    (allowed / "deeper").symlink_to(allowed.parent / "secret", target_is_directory=True)


def swap_pipe(allowed: Path) -> None:
    """Replace the image by a pipe, whose opening waits for a writer."""
    (allowed / "deeper" / "a.png").unlink()
    os.mkfifo(allowed / "deeper" / "a.png")


SWAPS = [swap_file, swap_folder, swap_pipe]


def after_resolving(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Run an action once, right after a path was resolved and before the file is opened."""
    realpath = os.path.realpath
    done: list[str] = []

    def resolve(path: str, **options: bool) -> str:
        resolved = realpath(path, **options)
        if not done:
            done.append(path)
            action()
        return resolved

    monkeypatch.setattr(os.path, "realpath", resolve)


@pytest.mark.parametrize("swap", SWAPS)
def test_i10_file_swapped_between_check_and_open_is_refused(
    allowed: Path, monkeypatch: pytest.MonkeyPatch, swap: Callable[[Path], None]
) -> None:
    after_resolving(monkeypatch, lambda: swap(allowed))
    with pytest.raises(OSError, match=r"symbolic link|symbolic links|Not a directory|a pipe"):
        open_regular_within(allowed / "deeper" / "a.png", [allowed])


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("use", ["tool call", "message"])
def test_i10_images_that_others_name_are_not_swapped(
    allowed: Path, monkeypatch: pytest.MonkeyPatch, swap: Callable[[Path], None], use: str
) -> None:
    resolver = ImageResolver(allowed_directories=[allowed])
    within = resolver._within

    def swapped(name: str) -> Path | None:
        path = within(name)
        swap(allowed)
        return path

    monkeypatch.setattr(resolver, "_within", swapped)
    opened = resolver.open_block if use == "message" else resolver.open
    with pytest.raises(ImageError, match=r"may not be read|is a device or a pipe"):
        opened(str(allowed / "deeper" / "a.png"))


def test_pipe_that_replaces_a_file_does_not_hang(
    allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = allowed / "deeper" / "a.png"
    status = path.stat()
    swap_pipe(allowed)
    with pytest.raises(OSError, match="It is a device or a pipe"):
        open_regular(path)
    monkeypatch.setattr(Path, "stat", lambda self, **_: status)  # as it was before the swap
    with pytest.raises(ImageError, match="It is a device or a pipe"):
        open_image(path)


def test_links_within_the_allowed_directories_are_followed(allowed: Path) -> None:
    (allowed / "link.png").symlink_to(allowed / "deeper" / "a.png")
    (allowed / "link").symlink_to(allowed / "deeper", target_is_directory=True)
    expected = (allowed / "deeper" / "a.png").read_bytes()
    for name in ("link.png", "link/a.png", "deeper/../deeper/a.png"):
        with open_regular_within(allowed / name, [allowed.parent / "secret", allowed]) as file:
            assert file.read() == expected
    with pytest.raises(PermissionError, match="outside of the allowed directories"):
        open_regular_within(allowed.parent / "secret" / "a.png", [allowed])
    with pytest.raises(IsADirectoryError):
        open_regular_within(allowed / "deeper", [allowed])


@pytest.mark.parametrize("swap", SWAPS)
def test_without_folders_descriptors_the_path_is_compared_after_opening(
    allowed: Path, monkeypatch: pytest.MonkeyPatch, swap: Callable[[Path], None]
) -> None:
    path = allowed / "deeper" / "a.png"
    expected = path.read_bytes()
    monkeypatch.setattr(os, "supports_dir_fd", set())  # as on Windows
    with open_regular_within(path, [allowed]) as file:
        assert file.read() == expected
    after_resolving(monkeypatch, lambda: swap(allowed))
    with pytest.raises(OSError, match=r"It was replaced while it was opened|a pipe"):
        open_regular_within(path, [allowed])


SHARE = "//evil.example/share"


@pytest.mark.parametrize(
    ("name", "leads_away"),
    [
        (r"\\evil.example\share\a.png", True),
        (f"{SHARE}/a.png", True),
        (r"\\?\UNC\evil.example\share\a.png", True),
        (r"\\.\pipe\a", True),
        (r"\\Files\Team\a.png", False),
        ("//files/team/deeper/a.png", False),
        (r"C:\images\a.png", False),
        (r"deeper\a.png", False),
        ("a.png", False),
    ],
)
def test_names_of_other_computers_differ_from_those_of_the_directories(
    name: str, leads_away: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llava_tools.images.opening.splitdrive", ntpath.splitdrive)
    directories = [PureWindowsPath(r"C:\images"), PureWindowsPath(r"\\files\team\images")]
    assert leads_to_another_computer(name, directories) == leads_away


@pytest.mark.parametrize("use", ["tool call", "message", "opening", "document", "training data"])
def test_nothing_looks_at_a_file_of_another_computer_that_others_name(
    allowed: Path, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    resolver = ImageResolver(allowed_directories=[allowed])
    monkeypatch.setattr("llava_tools.images.opening.splitdrive", ntpath.splitdrive)
    looks: list[str] = []
    realpath = os.path.realpath

    def look(path: str, **options: bool) -> str:
        looks.append(str(path))
        return realpath(path, **options)

    monkeypatch.setattr(os.path, "realpath", look)
    opened: dict[str, Callable[[str], object]] = {
        "tool call": resolver.open,
        "message": resolver.open_block,
        "opening": lambda name: open_regular_within(name, [allowed]),
        "document": lambda name: list(load_pages([name], [allowed])),
        "training data": lambda name: records._image_path(name, allowed, "record 1"),
    }
    with pytest.raises((ImageError, DocumentError, PermissionError)):
        opened[use](f"{SHARE}/a.png")
    assert not [path for path in looks if "evil" in path]
