"""URLs are fetched from the public internet or from hosts allowed by name, nowhere else."""

from __future__ import annotations

import ipaddress
import pickle
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from llava_tools import fetch
from llava_tools.errors import ImageError, RequestError
from llava_tools.fetch import Fetcher, FetchError, displayed, is_public
from llava_tools.images import open_image
from tests.strategies import encoded

PICTURE = encoded(Image.linear_gradient("L").resize((9, 7)), "PNG")
Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """An HTTP server on a free port of this machine, which answers as the test says."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Answer] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.release = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.seen.append((self.path, dict(self.headers.items())))
                site.answers[self.path.partition("?")[0]](self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # a client that hangs up is what some tests are about

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port: int = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def url(self, path: str = "/a.png", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    made.answers["/a.png"] = send(PICTURE)
    yield made
    made.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A name service of the test's own: nothing here ever asks a real one."""
    table: dict[str, list[str]] = {"localhost": ["127.0.0.1"]}

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[Any]:
        try:
            addresses = [str(ipaddress.ip_address(host))]
        except ValueError:
            if host not in table:
                raise socket.gaierror(-2, "Name or service not known") from None
            addresses = table[host]
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port),
            )
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return table


def send(body: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            if value:
                handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirect(to: str, status: int = 302) -> Answer:
    return send(b"", status, Location=to)


LOCAL = Fetcher(allowed_hosts=frozenset({"127.0.0.1"}), timeout=10)


def refusal(url: str, fetcher: Fetcher = LOCAL, *, retryable: bool = False) -> str:
    with pytest.raises(ImageError) as caught:
        fetcher.get(url)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.hint
    assert caught.value.retryable is retryable
    assert isinstance(caught.value, FetchError) is retryable
    return str(caught.value)


# ---- what works -----------------------------------------------------------------------------


def test_a_picture_by_url(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    ref = open_image(site.url("/a.png?key=secret"), fetcher=LOCAL)
    assert ref.data == PICTURE
    assert ref.source == f"http://127.0.0.1:{site.port}/a.png"
    path, headers = site.seen[0]
    assert path == "/a.png?key=secret"
    assert headers["Host"] == f"127.0.0.1:{site.port}"
    assert headers["Accept-Encoding"] == "identity"
    assert "Cookie" not in headers


def test_what_the_url_holds_is_looked_at(site: Site) -> None:
    site.answers["/a.png"] = send(b"<!doctype html><h1>Log in</h1>")
    with pytest.raises(ImageError, match="it is a web page"):
        open_image(site.url(), fetcher=LOCAL)
    site.answers["/a.png"] = send(b"")
    with pytest.raises(ImageError, match="is empty"):
        open_image(site.url(), fetcher=LOCAL)


def test_paths_are_quoted_once(site: Site) -> None:
    site.answers["/%C3%BC%20a%2Fb.png"] = send(PICTURE)
    assert LOCAL.get(site.url("/ü a%2Fb.png#top")) == PICTURE
    site.answers["/"] = send(PICTURE)
    assert LOCAL.get(site.url("")) == PICTURE
    assert LOCAL.get(site.url("?q=ä b")) == PICTURE
    assert [path for path, _ in site.seen] == ["/%C3%BC%20a%2Fb.png", "/", "/?q=%C3%A4%20b"]


def test_bodies_without_a_length(site: Site) -> None:
    site.answers["/a.png"] = send(PICTURE, Content_Length="")
    assert LOCAL.get(site.url()) == PICTURE

    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        send(b"", Content_Length="", Transfer_Encoding="chunked")(handler)
        for start in range(0, len(PICTURE), 50):
            part = PICTURE[start : start + 50]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    site.answers["/a.png"] = chunked
    assert LOCAL.get(site.url()) == PICTURE


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(site: Site, status: int) -> None:
    site.answers["/old"] = redirect("b/../a.png?x=1", status)
    site.answers["/b/../a.png"] = send(PICTURE)
    assert LOCAL.get(site.url("/old")) == PICTURE


# ---- where it may not go --------------------------------------------------------------------

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
        assert fetcher.get(site.url(host="pictures.lan")) == PICTURE
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


# ---- servers that fail ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "retryable"), [(404, False), (403, False), (204, False), (503, True), (429, True)]
)
def test_errors_of_the_server(site: Site, status: int, retryable: bool) -> None:
    site.answers["/a.png"] = send(b"", status)
    assert f"HTTP {status}" in refusal(site.url(), retryable=retryable)


def test_bodies_are_bounded(site: Site) -> None:
    bounded = Fetcher(allowed_hosts=LOCAL.allowed_hosts, max_bytes=len(PICTURE))
    assert bounded.get(site.url()) == PICTURE
    for answer in (
        send(PICTURE + b"x"),
        send(PICTURE + b"x", Content_Length=""),
        send(b"", Content_Length="99999999999"),
    ):
        site.answers["/a.png"] = answer
        assert "more than the" in refusal(site.url(), bounded)

    def endless(handler: BaseHTTPRequestHandler) -> None:
        send(b"", Content_Length="")(handler)
        while not site.release.is_set():
            handler.wfile.write(b"x" * 65536)

    site.answers["/a.png"] = endless
    assert "more than the" in refusal(site.url(), bounded)


def test_broken_answers(site: Site) -> None:
    site.answers["/a.png"] = send(PICTURE, Content_Length=str(len(PICTURE) + 5))
    assert "broke off after" in refusal(site.url(), retryable=True)
    site.answers["/a.png"] = send(PICTURE, Content_Encoding="gzip")
    assert "encoded as gzip" in refusal(site.url())

    def nonsense(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")

    site.answers["/a.png"] = nonsense
    assert "cannot be fetched" in refusal(site.url(), retryable=True)
    site.answers["/a.png"] = lambda handler: None
    assert "cannot be fetched" in refusal(site.url(), retryable=True)


def test_nobody_listens(names: dict[str, list[str]]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.png"
        assert "refused" in refusal(url, retryable=True)
    assert "not known" in refusal("http://nobody.example/a.png", retryable=True)


def holds_before_the_headers(site: Site, handler: BaseHTTPRequestHandler) -> None:
    site.release.wait(30)


def holds_in_the_body(site: Site, handler: BaseHTTPRequestHandler) -> None:
    send(PICTURE[:20], Content_Length=str(len(PICTURE)))(handler)
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
    "slow", [holds_before_the_headers, holds_in_the_body, drips_headers, drips_the_body]
)
def test_slow_servers(site: Site, slow: Callable[[Site, BaseHTTPRequestHandler], None]) -> None:
    site.answers["/a.png"] = lambda handler: slow(site, handler)
    hasty = Fetcher(allowed_hosts=LOCAL.allowed_hosts, timeout=0.2)
    assert "took longer than 0.2 s" in refusal(site.url(), hasty, retryable=True)


# ---- TLS ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of its own authority, for `pictures.lan` alone."""
    folder = tmp_path_factory.mktemp("tls")
    made = subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-keyout key.pem -out cert.pem -subj /CN=pictures.lan "
        "-addext subjectAltName=DNS:pictures.lan",
        shell=True,
        cwd=folder,
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("needs the openssl command to make a certificate")
    return folder


def test_tls_verifies_the_name(
    certificate: Path, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    site = Site(serving)
    site.answers["/a.png"] = send(PICTURE)
    names.update({"pictures.lan": ["127.0.0.1"], "other.lan": ["127.0.0.1"]})
    fetcher = Fetcher(allowed_hosts=frozenset({"pictures.lan", "other.lan"}))
    url = site.url(host="pictures.lan", scheme="https")
    try:
        assert "certificate" in refusal(url, fetcher, retryable=True)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
        assert fetcher.get(url) == PICTURE
        assert site.seen[0][1]["Host"] == f"pictures.lan:{site.port}"
        other = site.url(host="other.lan", scheme="https")
        assert "certificate" in refusal(other, fetcher, retryable=True)
        assert len(site.seen) == 1
    finally:
        site.close()


# ---- names and errors -----------------------------------------------------------------------


def test_names_in_messages_hold_no_secrets() -> None:
    assert displayed("https://me:pass@host/a.png?token=1#x") == "https://host/a.png"
    assert len(displayed("https://host/" + "a" * 500)) <= 100
    assert displayed("http://host/\x1b[31m") == "http://host/\\x1b[31m"
    assert "pass" not in displayed("http://me:pass@[broken/a")


def test_errors_travel() -> None:
    error = FetchError("It failed.", "Try it again.")
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), str(twin), twin.retryable) == (FetchError, str(error), True)
    assert fetch.FetchError.retryable
    assert not ImageError.retryable
