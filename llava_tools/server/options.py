"""`ServerOptions`: the address, the access and the limits of a server, checked before it starts."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

from llava_tools.errors import RequestError, check_count

_MIB = 1 << 20


@dataclass(frozen=True)
class ServerOptions:
    """Options of a server.

    Attributes:
        host: Address to listen on.
        port: TCP port, 0 to 65535; 0 takes a free one.
        api_keys: Keys that clients send as `Authorization: Bearer KEY`. Each has an image store of
            its own. Without keys, everybody who reaches the port is the same user.
        allow_anyone: Listen on an address that other machines reach without a key.
        model_names: Further names under which clients may request the model.
        allow_urls: Fetch images from public http(s) URLs in requests.
        allowed_hosts: Hosts ("host" or "host:port") in private networks whose images are fetched.
        allowed_origins: Origins of web pages elsewhere that may use the server (CORS).
        index: Folder or URI of a `PageIndex` that the page and the tools may search.
        max_body_bytes: Most bytes of a request's body.
        max_images: Most images of a request.
        max_pending: Most requests that wait or run; further ones are refused with 429.
        max_pending_per_key: The same for one key.
        store_bytes: Bytes that the images of one key may take in memory.
        timeout: Most seconds of an answer.

    Raises:
        RequestError: An impossible value, or an address that other machines reach without a key.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    allow_anyone: bool = False
    model_names: tuple[str, ...] = ()
    allow_urls: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    index: str | Path | None = None
    max_body_bytes: int = 32 * _MIB
    max_images: int = 16
    max_pending: int = 128
    max_pending_per_key: int = 64
    store_bytes: int = 256 * _MIB
    timeout: float = 600.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name.startswith("max_") or item.name == "store_bytes":
                check_count(item.name, value)
            elif isinstance(item.default, tuple) or item.name == "api_keys":
                self._check_texts(item.name, value)
        check_count("port", self.port, 0)
        if self.port > 65535:
            raise RequestError(f"port={self.port} is not possible.", "Use 0 to 65535.")
        if not (isinstance(self.timeout, int | float) and 0 < self.timeout < math.inf):
            raise RequestError(f"timeout={self.timeout!r} is not possible.", "Use seconds above 0.")
        if not self.api_keys and not self.allow_anyone and not is_loopback(self.host):
            raise RequestError(
                f"{self.host} can be reached from other machines, and there is no API key.",
                "Set a key (--api-key-file, or LLAVA_SERVER_API_KEY), or pass --allow-anyone if "
                "everybody who reaches it may use it.",
            )

    def _check_texts(self, name: str, value: object) -> None:
        if not isinstance(value, tuple) or not all(isinstance(v, str) and v for v in value):
            shown = "…" if name == "api_keys" else f"{value!r:.80}"
            raise RequestError(f"{name}={shown} is not possible.", "Use strings in a tuple.")


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address to listen on."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_keys(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the API keys of a file: one a line; empty lines and lines with `#` are left out.

    Raises:
        RequestError: A key with white space, or of fewer than 8 characters.
    """
    keys = [line.strip() for line in lines]
    keys = [key for key in keys if key and not key.startswith("#")]
    for number, key in enumerate(keys, start=1):
        if len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key:
            raise RequestError(
                f"API key number {number} is not possible.",
                "Use at least 8 ASCII characters without spaces, such as those of "
                "`python -c 'import secrets; print(secrets.token_urlsafe())'`.",
            )
    return tuple(keys)
