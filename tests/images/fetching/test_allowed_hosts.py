"""`Fetcher` connects to public addresses and hosts allowed by name only."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools.errors import ImageError, RequestError
from llava_tools.images import open_image
from llava_tools.images.fetch import Fetcher
from tests.images.fetching.site import IMAGE, Site, redirect, refusal, send
from tests.images.test_addresses import PRIVATE


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address: str, names: dict[str, list[str]]) -> None:
    names["public.example"] = ["93.184.215.14", address]
    message = refusal("http://public.example/a.png", Fetcher())
    assert "private or reserved" in message
    assert "give Fetcher or ChatLlava allowed_hosts={'public.example'}" in message


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "127.1", "2130706433", "0x7f000001"]
)
def test_every_name_of_this_machine_is_refused(host: str, site: Site) -> None:
    message = refusal(site.url(host=host), Fetcher())
    assert "private or reserved" in message
    with pytest.raises(ImageError, match="private"):
        open_image(site.url(host=host))
    assert not site.requests


def test_redirects_are_checked_again(site: Site, names: dict[str, list[str]]) -> None:
    names["public.example"] = ["127.0.0.1"]
    fetcher = Fetcher(allowed_hosts=frozenset({"public.example"}))
    for location, reason in [
        (site.url("/a.png", host="localhost"), "private or reserved"),
        ("http://169.254.169.254/latest/meta-data/", "private or reserved"),
        (f"//127.0.0.1:{site.port}/a.png", "private or reserved"),
        ("file:///etc/passwd", "not an http(s) URL"),
        ("http://user:secret@public.example/", "user name"),
        ("data:image/png;base64,AAAA", "not an http(s) URL"),
        ("http://[::1/a.png", "redirects to http://[::1/a.png, which is not a valid URL"),
    ]:
        site.answers["/go"] = redirect(location)
        message = refusal(site.url("/go", host="public.example"), fetcher)
        assert reason in message
        assert "secret" not in message
    assert {path for path, _ in site.requests} == {"/go"}


def test_redirects_are_limited(site: Site) -> None:
    site.answers["/loop"] = redirect("/loop")
    assert "more than 5 times" in refusal(site.url("/loop"))
    assert len(site.requests) == 6
    site.answers["/nowhere"] = send(b"", 302)
    assert "redirects nowhere" in refusal(site.url("/nowhere"))


def test_dns_rebinding_is_refused(
    site: Site, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is public when it is checked, and this machine in all later lookups."""
    connected: list[str] = []

    def create_connection(address: tuple[str, int], *_: object) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", create_connection)
    answers = iter([["93.184.215.14", "2606:4700::1111"]])
    real = socket.getaddrinfo

    def rebinding(host: str, *rest: Any, **options: Any) -> Any:
        names["rebind.example"] = next(answers, ["127.0.0.1"])
        return real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    refusal(site.url(host="rebind.example"), Fetcher(), retryable=True)
    assert connected == ["93.184.215.14", "2606:4700::1111"]
    assert "private" in refusal(site.url(host="rebind.example"), Fetcher())
    assert len(connected) == 2


@given(st.text(max_size=40))
def test_unknown_host_raises_one_line(text: str) -> None:
    def nowhere(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", nowhere)
        with pytest.raises(ImageError) as caught:
            Fetcher().get(f"http://{text}")
    assert len(str(caught.value).splitlines()) == 1


def test_allowed_hosts_may_be_private(site: Site, names: dict[str, list[str]]) -> None:
    names["images.lan"] = ["127.0.0.1"]
    for allowed in ("images.lan", "Images.LAN.", f"images.lan:{site.port}"):
        fetcher = Fetcher(allowed_hosts=frozenset({allowed}))
        assert fetcher.get(site.url(host="images.lan")) == IMAGE
        assert "private" in refusal(site.url(), fetcher)
    other = Fetcher(allowed_hosts=frozenset({f"images.lan:{site.port + 1}", "lan"}))
    assert "private" in refusal(site.url(host="images.lan"), other)
    assert site.requests[0][1]["Host"] == f"images.lan:{site.port}"


@pytest.mark.parametrize(
    "options",
    [
        {"allowed_hosts": "localhost"},
        {"allowed_hosts": frozenset({"http://localhost"})},
        {"allowed_hosts": frozenset({"*.lan"})},
        {"allowed_hosts": frozenset({""})},
        {"max_bytes": 0},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"max_redirects": -1},
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Fetcher(**options)
