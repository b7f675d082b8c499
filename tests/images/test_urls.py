"""URLs are parsed strictly, and shown without secrets."""

from __future__ import annotations

import pytest

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
    ],
)
def test_ambiguous_urls_are_refused(url: str) -> None:
    assert "secret" not in refusal(url)


def test_urls_in_messages_hold_no_secrets() -> None:
    assert display_url("https://me:pass@host/a.png?token=1#x") == "https://host/a.png"
    assert len(display_url("https://host/" + "a" * 500)) <= 100
    assert display_url("http://host/\x1b[31m") == "http://host/\\x1b[31m"
    assert "pass" not in display_url("http://me:pass@[broken/a")
