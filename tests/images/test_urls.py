"""URLs are parsed strictly, and shown without secrets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llava_tools.errors import ImageError
from llava_tools.images import open_image
from llava_tools.images.access import ImageResolver
from llava_tools.images.sources import shorten
from llava_tools.images.store import ImageStore
from llava_tools.images.urls import display_url
from tests.images.fetching.site import refusal


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/a.png",
        "file:///etc/passwd",
        "http://",
        "http:///a.png",
        "http:a.png",
        "http://user@127.0.0.1/a.png",
        "http://user:secret@127.0.0.1/a.png",
        "http://127.0.0.1\\@example.com/a.png",
        "http://127.0.0.1/a.png\r\nX-Header: 1",
        "http://127.0.0.1/\0",
        "http://127.0.0.1:99999/a.png",
        "http://127.0.0.1:port/a.png",
        "http://[::1/a.png",
        "http://a b/a.png",
        f"http://{'a' * 70}.example/a.png",
        "http://a..b/a.png",
        f"http://{'a.' * 130}example/a.png",
        "http://127.0.0.1/\ud800.png",
        "http://127.0.0.1/?\ud800",
        "http://\ud800.example/a.png",
    ],
)
def test_ambiguous_urls_are_refused(url: str) -> None:
    assert "secret" not in refusal(url)


def test_urls_in_messages_hold_no_secrets() -> None:
    assert display_url("https://me:pass@host/a.png?token=1#x") == "https://host/a.png"
    assert len(display_url("https://host/" + "a" * 500)) <= 100
    assert display_url("http://host/\x1b[31m") == "http://host/\\x1b[31m"
    assert "pass" not in display_url("http://me:pass@[broken/a")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ftp://me:pass@host/a.png?token=1#x", "'ftp://host/a.png'"),
        ("s3://key:pass@bucket/a.png", "'s3://bucket/a.png'"),
        (Path("https://me:pass@host/a.png"), "'https:/host/a.png'"),
        (" http://me:pass@host/\n", "'http://host/\\\\n'"),
        ("what?.png", "'what?.png'"),
        ("C:/me@home/a.png", "'C:/me@home/a.png'"),
    ],
)
def test_names_of_images_in_messages_hold_no_secrets(name: str | Path, shown: str) -> None:
    assert shorten(name) == shown


def test_a_data_url_with_half_a_character_is_refused() -> None:
    with pytest.raises(ImageError, match="is not valid base64"):
        open_image("data:image/png;base64,\ud800")


@pytest.mark.parametrize(
    "open_name",
    [
        open_image,
        ImageResolver(ImageStore()).open,
        ImageResolver(ImageStore()).open_block,
        ImageStore().get,
    ],
)
@pytest.mark.parametrize("scheme", ["http", "ftp", "file", "s3"])
def test_no_error_shows_the_password_of_a_url(
    scheme: str, open_name: Callable[[str], object]
) -> None:
    with pytest.raises(ImageError) as caught:
        open_name(f"{scheme}://me:secret@host/a.png?token=secret")
    assert "secret" not in str(caught.value)
