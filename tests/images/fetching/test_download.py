"""Images are downloaded by URL, in every form that servers send."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

import pytest

from llava_tools.errors import ImageError
from llava_tools.images import open_image
from tests.images.fetching.site import IMAGE, LOCAL, Site, redirect, send


def test_image_by_url_ignores_proxies_and_hides_the_query(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    ref = open_image(site.url("/a.png?key=secret"), fetcher=LOCAL)
    assert ref.data == IMAGE
    assert ref.source == f"http://127.0.0.1:{site.port}/a.png"
    path, headers = site.requests[0]
    assert path == "/a.png?key=secret"
    assert headers["Host"] == f"127.0.0.1:{site.port}"
    assert headers["Accept-Encoding"] == "identity"
    assert "Cookie" not in headers


def test_body_that_is_no_image_is_refused(site: Site) -> None:
    site.answers["/a.png"] = send(b"<!doctype html><h1>Log in</h1>")
    with pytest.raises(ImageError, match="it is a web page"):
        open_image(site.url(), fetcher=LOCAL)
    site.answers["/a.png"] = send(b"")
    with pytest.raises(ImageError, match="is empty"):
        open_image(site.url(), fetcher=LOCAL)


def test_paths_are_quoted_once(site: Site) -> None:
    site.answers["/%C3%BC%20a%2Fb.png"] = send(IMAGE)
    assert LOCAL.get(site.url("/ü a%2Fb.png#top")) == IMAGE
    site.answers["/"] = send(IMAGE)
    assert LOCAL.get(site.url("")) == IMAGE
    assert LOCAL.get(site.url("?q=ä b")) == IMAGE
    assert [path for path, _ in site.requests] == ["/%C3%BC%20a%2Fb.png", "/", "/?q=%C3%A4%20b"]


def test_body_without_a_length(site: Site) -> None:
    site.answers["/a.png"] = send(IMAGE, Content_Length="")
    assert LOCAL.get(site.url()) == IMAGE

    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        send(b"", Content_Length="", Transfer_Encoding="chunked")(handler)
        for start in range(0, len(IMAGE), 50):
            part = IMAGE[start : start + 50]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    site.answers["/a.png"] = chunked
    assert LOCAL.get(site.url()) == IMAGE


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(site: Site, status: int) -> None:
    site.answers["/old"] = redirect("b/../a.png?x=1", status)
    site.answers["/b/../a.png"] = send(IMAGE)
    assert LOCAL.get(site.url("/old")) == IMAGE
