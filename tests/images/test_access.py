"""Names that a model writes lead to given images, and elsewhere only where that is allowed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from llava_tools.errors import ImageError, RequestError
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore, shared_store
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
def server() -> Iterator[str]:
    """Answers /redirect with a redirect to localhost by its other name, all else with an image."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/redirect":
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{port}/a.png")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(PNG)))
            self.end_headers()
            self.wfile.write(PNG)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"127.0.0.1:{port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_handle_leads_to_what_was_given() -> None:
    resolver = ImageResolver(ImageStore())
    handle = resolver.add(PNG)
    assert resolver.open(handle).data == PNG
    with pytest.raises(ImageError, match="no picture"):
        ImageResolver(ImageStore()).open(handle)


def test_the_gallery_of_the_process_is_the_default() -> None:
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
def test_nothing_else_leads_anywhere_by_default(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(ImageError, match="no picture"):
        ImageResolver(ImageStore()).open(name)


def test_an_allowed_folder(folder: Path) -> None:
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
def test_what_lies_outside_an_allowed_folder(name: str, folder: Path) -> None:
    with pytest.raises(ImageError):
        ImageResolver(ImageStore(), allowed_directories=[folder]).open(name)
    absolute = os.path.realpath(folder.parent / "secret.png")
    with pytest.raises(ImageError, match="no picture"):
        ImageResolver(ImageStore(), allowed_directories=[folder]).open(absolute)


def test_an_allowed_host(server: str) -> None:
    resolver = ImageResolver(ImageStore(), allowed_hosts=[server])
    image = resolver.open(f"http://{server}/a.png")
    assert resolver.open(image.handle).data == PNG


def test_an_allowed_host_cannot_send_us_elsewhere(server: str) -> None:
    resolver = ImageResolver(ImageStore(), allowed_hosts=[server])
    with pytest.raises(ImageError, match="not among those allowed"):
        resolver.open(f"http://{server}/redirect")


def test_other_hosts_are_refused_even_if_public() -> None:
    resolver = ImageResolver(ImageStore(), allowed_hosts=["pictures.example"])
    with pytest.raises(ImageError, match=r"not among those allowed.*pictures\.example"):
        resolver.open("https://elsewhere.example/a.png")


def test_what_cannot_be_allowed(tmp_path: Path) -> None:
    for options in (
        {"allowed_directories": [tmp_path / "missing"]},
        {"allowed_directories": str(tmp_path)},
        {"allowed_hosts": "example.org"},
        {"allowed_hosts": ["https://example.org/"]},
    ):
        with pytest.raises(RequestError):
            ImageResolver(ImageStore(), **options)
