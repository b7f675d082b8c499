"""Fixtures that start fake servers and connect backends to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llava_tools.remote import RemoteBackend
from tests.fake_server import FakeServer
from tests.remote.requests import Connect, Serve


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers, which stop at the end of the test."""
    servers: list[FakeServer] = []

    def start(*texts: Any, **options: Any) -> FakeServer:
        script = texts[0] if len(texts) == 1 and callable(texts[0]) else texts or ("ok",)
        servers.append(FakeServer(script, **options).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes backends that retry without delay; they are closed at the end of the test."""
    backends: list[RemoteBackend] = []

    def make(server: FakeServer, **options: Any) -> RemoteBackend:
        backends.append(RemoteBackend(server.url, **{"retry_delays": (0, 0), **options}))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()
