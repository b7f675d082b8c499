"""Failing, lying and slow servers raise one clear error."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from llava_tools.errors import ImageError
from llava_tools.images.fetch import Fetcher
from tests.images.fetching.site import IMAGE, LOCAL, Site, refusal, send


@pytest.mark.parametrize(
    ("status", "retryable"), [(404, False), (403, False), (204, False), (503, True), (429, True)]
)
def test_http_errors_are_retryable_or_not(site: Site, status: int, retryable: bool) -> None:
    site.answers["/a.png"] = send(b"", status)
    assert f"HTTP {status}" in refusal(site.url(), retryable=retryable)


def test_body_over_max_bytes_is_refused(site: Site) -> None:
    bounded = Fetcher(allowed_hosts=LOCAL.allowed_hosts, max_bytes=len(IMAGE))
    assert bounded.get(site.url()) == IMAGE
    for answer in (
        send(IMAGE + b"x"),
        send(IMAGE + b"x", Content_Length=""),
        send(b"", Content_Length="99999999999"),
    ):
        site.answers["/a.png"] = answer
        assert "larger than the limit" in refusal(site.url(), bounded)

    def endless(handler: BaseHTTPRequestHandler) -> None:
        send(b"", Content_Length="")(handler)
        while not site.release.is_set():
            handler.wfile.write(b"x" * 65536)

    site.answers["/a.png"] = endless
    assert "larger than the limit" in refusal(site.url(), bounded)


def test_broken_response_raises(site: Site) -> None:
    site.answers["/a.png"] = send(IMAGE, Content_Length=str(len(IMAGE) + 5))
    assert "broke off after" in refusal(site.url(), retryable=True)
    site.answers["/a.png"] = send(IMAGE, Content_Encoding="gzip")
    assert "encoded as gzip" in refusal(site.url())

    def nonsense(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")

    site.answers["/a.png"] = nonsense
    assert "cannot be fetched" in refusal(site.url(), retryable=True)
    site.answers["/a.png"] = lambda handler: None
    assert "cannot be fetched" in refusal(site.url(), retryable=True)


@pytest.mark.parametrize(
    "lines",
    [
        b"HTTP/1.1 404 " + b"x" * 50_000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: " + b"x" * 50_000,
        b"HTTP/1.1 " + b"x" * 50_000,
    ],
)
def test_text_of_a_server_is_shortened(site: Site, lines: bytes) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(lines + b"\r\n\r\n")

    site.answers["/a.png"] = answer
    with pytest.raises(ImageError) as caught:
        LOCAL.get(site.url())
    assert len(str(caught.value)) < 300


def test_unreachable_and_unknown_hosts_are_retryable(names: dict[str, list[str]]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.png"
        assert "refused" in refusal(url, retryable=True)
    assert "not known" in refusal("http://missing.example/a.png", retryable=True)


def stalls_before_the_headers(site: Site, handler: BaseHTTPRequestHandler) -> None:
    site.release.wait(30)


def stalls_in_the_body(site: Site, handler: BaseHTTPRequestHandler) -> None:
    send(IMAGE[:20], Content_Length=str(len(IMAGE)))(handler)
    site.release.wait(30)


def drips_headers(site: Site, handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
    while not site.release.wait(0.01):
        handler.wfile.write(b"x")


def drips_the_body(site: Site, handler: BaseHTTPRequestHandler) -> None:
    send(b"", Content_Length="")(handler)
    while not site.release.wait(0.01):
        handler.wfile.write(b"x")


@pytest.mark.parametrize(
    "slow", [stalls_before_the_headers, stalls_in_the_body, drips_headers, drips_the_body]
)
def test_slow_server_raises_after_the_timeout(
    site: Site, slow: Callable[[Site, BaseHTTPRequestHandler], None]
) -> None:
    site.answers["/a.png"] = lambda handler: slow(site, handler)
    fetcher = Fetcher(allowed_hosts=LOCAL.allowed_hosts, timeout=0.2)
    assert "took longer than 0.2 s" in refusal(site.url(), fetcher, retryable=True)
