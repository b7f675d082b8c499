"""Fake servers, and backends for them, that end with the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llava_tools.remote import RemoteBackend
from tests.fake_server import FakeServer
from tests.remote.requests import Connect, Serve


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that end with the test."""
    running: list[FakeServer] = []

    def start(*script: Any, **options: Any) -> FakeServer:
        given = script[0] if len(script) == 1 and callable(script[0]) else script or ("ok",)
        running.append(FakeServer(given, **options).__enter__())
        return running[-1]

    yield start
    for server in running:
        server.__exit__()


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes backends that retry without waiting and are closed with the test."""
    made: list[RemoteBackend] = []

    def make(server: FakeServer, **options: Any) -> RemoteBackend:
        made.append(RemoteBackend(server.url, **{"pauses": (0, 0), **options}))
        return made[-1]

    yield make
    for backend in made:
        backend.close()
