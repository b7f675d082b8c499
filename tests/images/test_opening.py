"""Files are checked when they are open: a path that changes in between leads nowhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llava_tools.errors import ImageError
from llava_tools.images import open_image
from llava_tools.images.access import ImageResolver
from llava_tools.images.opening import open_regular, open_regular_within
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
