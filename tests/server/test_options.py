from __future__ import annotations

from typing import Any

import pytest

from llava_tools.errors import RequestError
from llava_tools.server.options import ServerOptions, is_loopback, read_keys


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_addresses_need_no_key(host: str) -> None:
    assert is_loopback(host)
    assert ServerOptions(host=host).api_keys == ()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_other_addresses_need_a_key_or_permission(host: str) -> None:
    with pytest.raises(RequestError, match="can be reached from other machines"):
        ServerOptions(host=host)
    assert ServerOptions(host=host, api_keys=("k" * 8,)).host == host
    assert ServerOptions(host=host, allow_anyone=True).host == host


@pytest.mark.parametrize(
    "values",
    [
        {"port": -1},
        {"port": 65536},
        {"port": True},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": "5"},
        {"max_images": 0},
        {"max_body_bytes": 1.5},
        {"api_keys": "secret-key"},
        {"allowed_hosts": ("",)},
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=next(iter(values))):
        ServerOptions(**values)


def test_keys_are_not_shown() -> None:
    assert "secret" not in repr(ServerOptions(api_keys=("secret-key",)))
    with pytest.raises(RequestError) as caught:
        ServerOptions(api_keys="secret-key")
    assert "secret" not in str(caught.value)


def test_keys_are_read_from_lines() -> None:
    assert read_keys(["# ours", "", "first-key ", "second-key"]) == ("first-key", "second-key")


@pytest.mark.parametrize("key", ["short", "two words here", "schlüssel"])
def test_weak_keys_are_refused_by_their_number(key: str) -> None:
    with pytest.raises(RequestError, match="API key number 2") as caught:
        read_keys(["first-key", key])
    assert key not in str(caught.value)
