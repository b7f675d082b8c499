"""URLs are fetched from the public internet or from hosts allowed by name, nowhere else."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools.errors import ImageError, RequestError
from llava_tools.images import open_image
from llava_tools.images.fetch import Fetcher, is_public
from tests.images.fetching.site import IMAGE, Site, redirect, refusal, send

PRIVATE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "224.0.0.1",
    "240.0.0.1", "255.255.255.255", "168.63.129.16", "::", "::1", "fe80::1", "fc00::1",
    "fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2001::1",
    "2001:db8::1", "100::1", "fe80::1%2",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str, names: dict[str, list[str]]) -> None:
    assert not is_public(ipaddress.ip_address(address))
    names["innocent.example"] = ["93.184.215.14", address]
    message = refusal("http://innocent.example/a.png", Fetcher())
    assert "private or reserved" in message
    assert "give Fetcher or ChatLlava allowed_hosts={'innocent.example'}" in message


@pytest.mark.parametrize(
    "address",
    ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=6))
def test_only_global_unicast_of_ipv6_is_public(address: ipaddress.IPv6Address) -> None:
    if is_public(address):
        assert address.ipv4_mapped or address.packed[0] >> 5 == 1 or address.packed[:2] == b"\0\x64"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "127.1", "2130706433", "0x7f000001"]
)
def test_this_machine_by_its_many_names(host: str, site: Site) -> None:
    message = refusal(site.url(host=host), Fetcher())
    assert "private or reserved" in message
    with pytest.raises(ImageError, match="private"):
        open_image(site.url(host=host))
    assert not site.seen


def test_redirects_are_judged_again(site: Site, names: dict[str, list[str]]) -> None:
    names["public.example"] = ["127.0.0.1"]
    trusted = Fetcher(allowed_hosts=frozenset({"public.example"}))
    for to, said in [
        (site.url("/a.png", host="localhost"), "private or reserved"),
        ("http://169.254.169.254/latest/meta-data/", "private or reserved"),
        (f"//127.0.0.1:{site.port}/a.png", "private or reserved"),
        ("file:///etc/passwd", "not an http(s) URL"),
        ("http://user:secret@public.example/", "user name"),
        ("data:image/png;base64,AAAA", "not an http(s) URL"),
    ]:
        site.answers["/go"] = redirect(to)
        message = refusal(site.url("/go", host="public.example"), trusted)
        assert said in message
        assert "secret" not in message
    assert {path for path, _ in site.seen} == {"/go"}


def test_redirects_end(site: Site) -> None:
    site.answers["/loop"] = redirect("/loop")
    assert "more than 5 times" in refusal(site.url("/loop"))
    assert len(site.seen) == 6
    site.answers["/nowhere"] = send(b"", 302)
    assert "redirects nowhere" in refusal(site.url("/nowhere"))


def test_a_second_look_up_leads_nowhere_else(
    site: Site, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the name is public when it is judged, and this machine ever after."""
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
def test_urls_that_are_refused(url: str) -> None:
    assert "secret" not in refusal(url)


@given(st.text(max_size=40))
def test_any_host_is_refused_in_one_line(text: str) -> None:
    def nowhere(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", nowhere)
        with pytest.raises(ImageError) as caught:
            Fetcher().get(f"http://{text}")
    assert len(str(caught.value).splitlines()) == 1


def test_allowed_hosts(site: Site, names: dict[str, list[str]]) -> None:
    names["pictures.lan"] = ["127.0.0.1"]
    for allowed in ("pictures.lan", "Pictures.LAN.", f"pictures.lan:{site.port}"):
        fetcher = Fetcher(allowed_hosts=frozenset({allowed}))
        assert fetcher.get(site.url(host="pictures.lan")) == IMAGE
        assert "private" in refusal(site.url(), fetcher)
    other = Fetcher(allowed_hosts=frozenset({f"pictures.lan:{site.port + 1}", "lan"}))
    assert "private" in refusal(site.url(host="pictures.lan"), other)
    assert site.seen[0][1]["Host"] == f"pictures.lan:{site.port}"


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
def test_settings_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Fetcher(**options)
