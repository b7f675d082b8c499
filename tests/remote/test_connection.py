"""Headers, further fields, proxies and HTTP clients of a connection to a server."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest

from llava_tools import Llava
from llava_tools.core.backend import Backend
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.errors import (
    EngineClosedError,
    LlavaToolsError,
    ModelError,
    RequestError,
    ServerError,
)
from llava_tools.options import EngineOptions
from llava_tools.remote import connect as connect_options
from llava_tools.remote.errors import StatusError, translated_errors
from tests.fake_server import FakeServer
from tests.remote.requests import QUESTION, Serve, connect_url, full_answer

KEY = "key-that-is-secret"
HEADERS = {"X-Team": "vision-secret", "X-Trace": "1"}
REQUEST = Request(QUESTION)


def _connected(server: FakeServer, **options: Any) -> Backend:
    return connect_options(EngineOptions(**{"base_url": server.url, **options}))


def test_headers_go_with_every_request(serve: Serve) -> None:
    server = serve("ok", api_key=KEY)
    backend = _connected(server, api_key=KEY, default_headers=HEADERS)
    full_answer(backend, REQUEST)
    backend.count_tokens(REQUEST)
    backend.close()
    assert len(server.headers) >= 3
    for headers in server.headers:
        assert headers["x-team"] == "vision-secret"
        assert headers["authorization"] == f"Bearer {KEY}"


def test_extra_fields_go_with_every_request_for_an_answer(serve: Serve) -> None:
    server = serve("ok")
    extra = {"chat_template_kwargs": {"short": True}, "priority": 3}
    backend = _connected(server, extra_body=extra)
    extra["priority"] = 9  # what was passed counts
    full_answer(backend, Request(QUESTION, SamplingParams(top_k=4)))
    backend.count_tokens(REQUEST)
    backend.close()
    assert [body["priority"] for body in server.requests] == [3] * len(server.requests)
    assert server.requests[0]["chat_template_kwargs"] == {"short": True}
    assert server.requests[0]["top_k"] == 4


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("vllm", {"repetition_penalty": 1.2}),
        ("minimal", {"repetition_penalty": 1.2, "repeat_penalty": 1.2, "repeat_last_n": 4096}),
    ],
)
def test_a_repetition_penalty_has_the_servers_name(
    serve: Serve, kind: str, names: dict[str, float]
) -> None:
    server = serve("ok", kind=kind)
    backend = _connected(server)
    full_answer(backend, Request(QUESTION, SamplingParams(repetition_penalty=1.2)))
    full_answer(backend, REQUEST)
    backend.close()
    penalized, plain = server.requests
    for name in ("repetition_penalty", "repeat_penalty", "repeat_last_n"):
        assert penalized.get(name) == names.get(name)
        assert name not in plain


def test_a_proxy_gets_the_requests(serve: Serve) -> None:
    """The fake server stands for the proxy: the address itself leads nowhere."""
    server = serve("through the proxy")
    proxy = server.url.removesuffix("/v1")
    backend = _connected(server, base_url="http://model.invalid/v1", proxy=proxy)
    assert full_answer(backend, REQUEST).text == "through the proxy"
    backend.close()
    assert server.headers[0]["host"] == "model.invalid"


def test_a_socks_proxy_names_the_package_that_it_needs(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(RequestError, match="needs the package socksio"):
        _connected(serve("ok"), proxy="socks5://me:pass-word@127.0.0.1:1")


@pytest.mark.parametrize(
    "url", ["http://h:x/v1", "http://[::1/v1", "http://h\x00/v1", "http://127.0.0.1:99999/v1"]
)
def test_an_impossible_url_is_an_error(url: str) -> None:
    with pytest.raises(LlavaToolsError) as caught:
        connect_url(url)
    assert str(caught.value).isprintable()


def test_an_impossible_port_of_a_proxy_is_an_error(serve: Serve) -> None:
    with pytest.raises(RequestError, match="no port 99999"):
        _connected(serve("ok"), proxy="http://127.0.0.1:99999")


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"])
def test_proxies_of_the_environment_are_not_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    backend = _connected(serve("ok"))
    assert full_answer(backend, REQUEST).text == "ok"
    backend.close()


def test_keys_and_headers_of_the_environment_are_not_sent(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "BASE_URL", "WEBHOOK_SECRET")
    for name in names:
        monkeypatch.setenv(f"OPENAI_{name}", f"http://of-the-environment/{name}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Custom: of-the-environment")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password of-the-environment\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = serve("ok")
    backend = _connected(server)
    assert full_answer(backend, REQUEST).text == "ok"
    backend.close()
    for headers in server.headers:
        assert "of-the-environment" not in str(headers)
        assert "authorization" not in headers
        assert not [name for name in headers if name.startswith(("x-stainless", "openai"))]
        assert headers["user-agent"] == "llava-tools"


def test_authorities_of_the_environment_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, serve: Serve
) -> None:
    """They are files of the user's: nothing is sent to them."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(RequestError, match="No such file"):
        _connected(serve("ok"))
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    backend = _connected(serve("ok"))
    assert full_answer(backend, REQUEST).text == "ok"
    backend.close()


@pytest.mark.parametrize("module", ["httpx", "httpx2"])
def test_an_async_client_sends_the_requests(serve: Serve, module: str) -> None:
    """Releases of other packages use the one or the other."""
    server = serve("ok")
    client = pytest.importorskip(module).AsyncClient(headers={"X-Own": "client"}, trust_env=False)
    backend = _connected(server, http_async_client=client)
    assert full_answer(backend, REQUEST).text == "ok"
    backend.close()
    assert {headers["x-own"] for headers in server.headers} == {"client"}
    assert client.is_closed


@pytest.mark.parametrize("follow", [False, True])
def test_redirects_are_not_followed(serve: Serve, follow: bool) -> None:
    other = serve("elsewhere")
    transport = httpx.MockTransport(
        lambda request: httpx.Response(307, headers={"location": other.url})
    )
    client = httpx.AsyncClient(transport=transport, follow_redirects=follow)
    with pytest.raises(LlavaToolsError, match="redirects are not followed"):
        _connected(other, http_async_client=client)
    assert other.headers == []


def test_no_message_shows_a_key_or_a_header(serve: Serve) -> None:
    server = serve("ok", api_key=KEY)
    backend = _connected(server, api_key=KEY, default_headers=HEADERS)
    server.faults += ["echo"] * 4
    with pytest.raises(ServerError, match="These failed") as caught:
        full_answer(backend, REQUEST)
    backend.close()
    error: BaseException | None = caught.value
    while error is not None:
        assert KEY not in str(error)
        assert "vision-secret" not in str(error)
        error = error.__cause__
    assert "***" in str(caught.value)
    assert "['1', 'Bearer ***', '***']" in str(caught.value), "short values are no secrets"


@pytest.mark.parametrize("length", range(270, 300))
def test_a_message_that_is_shortened_within_a_key_shows_none_of_it(length: int) -> None:
    error = StatusError(500, "x" * length + KEY)
    with pytest.raises(LlavaToolsError) as caught, translated_errors("http://h/v1", [KEY]):
        raise error
    assert "key-" not in str(caught.value)
    assert "***" in str(caught.value)


def test_an_authorization_of_the_headers_counts_before_a_password(serve: Serve) -> None:
    server = serve("ok")
    url = server.url.replace("http://", "http://me:pass-word@")
    backend = _connected(server, base_url=url, default_headers={"AUTHORIZATION": "Own x"})
    backend.close()
    assert {headers["authorization"] for headers in server.headers} == {"Own x"}


@pytest.mark.parametrize("key", ["secret\nkey", "secret\u2026key", "secret\x00key"])
def test_a_key_that_http_cannot_carry_is_refused(serve: Serve, key: str) -> None:
    with pytest.raises(RequestError, match="api_key has a character") as caught:
        _connected(serve("ok"), api_key=key)
    assert "secret" not in str(caught.value)


def test_a_closed_client_of_the_users_is_an_error(serve: Serve) -> None:
    client = httpx.AsyncClient(trust_env=False)
    backend = _connected(serve("ok"), http_async_client=client)
    asyncio.run(client.aclose())
    with pytest.raises(EngineClosedError):
        full_answer(backend, REQUEST)
    backend.close()


def test_no_message_shows_a_password(serve: Serve) -> None:
    server = serve("ok", models=("a", "b"))
    url = server.url.replace("http://", "http://me:pass-word@")
    with pytest.raises(ModelError, match="does not serve exactly one model") as caught:
        _connected(server, base_url=url)
    assert "pass-word" not in str(caught.value)
    options = EngineOptions(
        base_url=server.url, api_key=KEY, default_headers=HEADERS, proxy="http://me:pass-word@p:1"
    )
    for secret in (KEY, "vision-secret", "pass-word"):
        assert secret not in repr(options)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("default_headers", ["X-A"], "default_headers is a list"),
        ("default_headers", {"X A": "b"}, "name 'X A'"),
        ("default_headers", {"X-A": "vision-secret\r\nX-B: c"}, "'X-A' in default_headers"),
        ("default_headers", {"X-A": 5}, "'X-A' in default_headers"),
        ("extra_body", [1], "extra_body="),
        ("extra_body", {5: 1}, "extra_body="),
        ("extra_body", {"a": {1, 2}}, "extra_body="),
        ("extra_body", {"a": float("nan")}, "extra_body="),
        ("extra_body", {"temperature": 1}, "'temperature'"),
        ("extra_body", {"messages": []}, "'messages'"),
        ("extra_body", {"response_format": {}}, "'response_format'"),
        ("proxy", "vision-secret", "proxy is not the URL"),
        ("proxy", 5, "proxy is not the URL"),
        ("http_async_client", httpx.Client(), "http_async_client is a Client"),
        ("http_async_client", object(), "http_async_client is a object"),
    ],
)
def test_impossible_values_are_refused_without_showing_them(
    option: str, value: Any, message: str
) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        Llava(base_url="http://localhost:1/v1", **{option: value})
    assert "vision-secret" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("default_headers", {"X-A": "b"}),
        ("extra_body", {"priority": 1}),
        ("proxy", "http://p:1"),
        ("http_async_client", httpx.AsyncClient()),
    ],
)
def test_options_of_a_connection_need_a_server(option: str, value: Any) -> None:
    with pytest.raises(RequestError, match=f"{option} is for a server"):
        Llava(**{option: value})


def test_a_proxy_does_not_go_with_a_client() -> None:
    with pytest.raises(RequestError, match="proxy does not go with http_async_client"):
        Llava(base_url="http://h/v1", proxy="http://p:1", http_async_client=httpx.AsyncClient())


def test_equal_connections_are_shared() -> None:
    one = EngineOptions(base_url="http://h/v1", default_headers={"A": "b"}, extra_body={"c": [1]})
    same = EngineOptions(base_url="http://h/v1", default_headers={"A": "b"}, extra_body={"c": [1]})
    other = EngineOptions(base_url="http://h/v1", default_headers={"A": "c"}, extra_body={"c": [1]})
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
