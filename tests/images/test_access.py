"""Tool calls open stored images only, plus allowed directories and hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from llava_tools.errors import ImageError, RequestError
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore, shared_store
from tests.images.fetching.site import Site, redirect, send
from tests.strategies import encoded

PNG = encoded(Image.new("RGB", (8, 6), "red"), "PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "allowed"
    (inside / "deeper").mkdir(parents=True)
    (inside / "a.png").write_bytes(PNG)
    (inside / "deeper" / "b.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_bytes(PNG)
    (tmp_path / "allowed-not.png").write_bytes(PNG)
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    return inside


@pytest.fixture
def site() -> Iterator[Site]:
    """Serves an image, and a redirect to the same server by its other name."""
    server = Site()
    server.answers = {
        "/a.png": send(PNG),
        "/redirect": redirect(server.url(host="localhost")),
    }
    yield server
    server.close()


def test_handle_opens_the_added_image() -> None:
    resolver = ImageResolver(ImageStore())
    handle = resolver.add(PNG)
    assert resolver.open(handle).data == PNG
    with pytest.raises(ImageError, match="no picture"):
        ImageResolver(ImageStore()).open(handle)


def test_default_is_the_store_of_the_process() -> None:
    assert ImageResolver().add(PNG) in shared_store()


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "/etc/hostname",
        "file:///etc/hostname",
        "http://127.0.0.1/a.png",
        "https://example.org/a.png",
        "data:image/png;base64,AAAA",
        "~/a.png",
        "img_000000000000000000000000",
        "\0",
    ],
)
def test_other_names_are_refused_by_default(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(ImageError, match="no picture"):
        ImageResolver(ImageStore()).open(name)


def test_files_in_an_allowed_directory(folder: Path) -> None:
    resolver = ImageResolver(ImageStore(), allowed_directories=[folder])
    for name in ("a.png", "deeper/b.png", "deeper/../a.png", str(folder / "a.png")):
        image = resolver.open(name)
        assert resolver.open(image.handle) == image


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "link.png",
        "deeper/../../secret.png",
        "../allowed-not.png",
        "/etc/hostname",
        "file:///etc/hostname",
        "http://127.0.0.1/a.png",
        "",
        ".",
        "\0",
        "x" * 5000,
    ],
)
def test_files_outside_the_allowed_directories_are_refused(name: str, folder: Path) -> None:
    with pytest.raises(ImageError):
        ImageResolver(ImageStore(), allowed_directories=[folder]).open(name)
    absolute = os.path.realpath(folder.parent / "secret.png")
    with pytest.raises(ImageError, match="no picture"):
        ImageResolver(ImageStore(), allowed_directories=[folder]).open(absolute)


def test_url_of_an_allowed_host(site: Site) -> None:
    resolver = ImageResolver(ImageStore(), allowed_hosts=[f"127.0.0.1:{site.port}"])
    image = resolver.open(site.url())
    assert resolver.open(image.handle).data == PNG


def test_redirect_from_an_allowed_host_to_another_is_refused(site: Site) -> None:
    resolver = ImageResolver(ImageStore(), allowed_hosts=[f"127.0.0.1:{site.port}"])
    with pytest.raises(ImageError, match="not among those allowed"):
        resolver.open(site.url("/redirect"))


def test_other_hosts_are_refused_even_if_public() -> None:
    resolver = ImageResolver(ImageStore(), allowed_hosts=["images.example"])
    with pytest.raises(ImageError, match=r"not among those allowed.*images\.example"):
        resolver.open("https://elsewhere.example/a.png")


def test_impossible_options_are_refused(tmp_path: Path) -> None:
    for options in (
        {"allowed_directories": [tmp_path / "missing"]},
        {"allowed_directories": str(tmp_path)},
        {"allowed_hosts": "example.org"},
        {"allowed_hosts": ["https://example.org/"]},
    ):
        with pytest.raises(RequestError):
            ImageResolver(ImageStore(), **options)


@pytest.mark.parametrize("name", ["a.png", "deeper/b.png"])
def test_a_message_names_files_in_allowed_directories(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = ImageResolver(ImageStore(), allowed_directories=[folder])
    for source in (folder / name, str(folder / name)):
        assert resolver.open_block(source).data == PNG
    with pytest.raises(ImageError, match="allowed_directories="):
        resolver.open_block(name)  # relative to the working directory
    monkeypatch.chdir(folder)
    assert resolver.open_block(name).data == PNG


@pytest.mark.parametrize("name", ["../secret.png", "link.png", "../allowed-not.png", "", ".", "\0"])
def test_a_message_names_no_files_outside_of_them(name: str, folder: Path) -> None:
    resolver = ImageResolver(ImageStore(), allowed_directories=[folder])
    with pytest.raises(ImageError):
        resolver.open_block(os.path.join(folder, name))
    with pytest.raises(ImageError):
        resolver.open_block(folder / name)
