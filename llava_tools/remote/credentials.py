"""How requests get to a model server: options, headers, and the secrets in them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from llava_tools.core.connection import HEADER_VALUE, authorization

#: Characters of a value that is a secret; shorter ones may be part of any message.
_SHORTEST_SECRET = 6


@dataclass(frozen=True)
class Connection:
    """How requests get to a server; see `llava_tools.options.EngineOptions`."""

    default_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    proxy: str | None = field(default=None, repr=False)
    http_async_client: Any = None


def write_headers(
    base_url: str, api_key: str | None, default_headers: Mapping[str, str]
) -> dict[bytes, bytes]:
    """Return the headers of every request, with names in lower case.

    Raises:
        ValueError: HTTP cannot carry the key.
    """
    headers = {"accept-encoding": "identity"}
    if api_key:
        if not HEADER_VALUE.fullmatch(api_key):
            raise ValueError("api_key has a character that HTTP cannot carry")
        headers["authorization"] = f"Bearer {api_key}"
    for own in (authorization(base_url), default_headers):
        headers |= {name.lower(): value for name, value in own.items()}
    return {name.encode(): value.encode("latin-1") for name, value in headers.items()}


def find_secrets(url: str, api_key: str | None, connection: Connection) -> tuple[str, ...]:
    """Return the key, headers' values, and passwords in them and in URLs."""
    headers = [
        *connection.default_headers.values(),
        *authorization(url).values(),
        *authorization(connection.proxy or "").values(),
    ]
    values = [api_key or "", *headers]
    for scheme, _, credentials in (header.partition(" ") for header in headers):
        values.append(credentials)
        if scheme.lower() == "basic":
            with suppress(ValueError):  # of a header that only begins like one
                plain = base64.b64decode(credentials).decode()
                values += [plain, plain.partition(":")[2]]
    secrets = {value for value in values if len(value) >= _SHORTEST_SECRET}
    return tuple(sorted(secrets, key=len, reverse=True))  # one may be a part of another
