"""Fixtures that start fake servers and connect backends to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from llava_tools.core.outputs import Answer
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.remote import RemoteBackend
from tests.fake_server import FakeServer
from tests.remote.hostile_server import HostileServer
from tests.remote.requests import (
    QUESTION,
    Ask,
    Connect,
    Serve,
    ServeBytes,
    connect_url,
    full_answer,
)


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


@pytest.fixture
def serve_bytes() -> Iterator[ServeBytes]:
    """Starts servers that send raw bytes."""
    with ExitStack() as servers:
        yield lambda *args, **kw: servers.enter_context(HostileServer(*args, **kw))


@pytest.fixture
def ask(serve_bytes: ServeBytes) -> Iterator[Ask]:
    """Asks a server that gives this answer."""
    backends: list[RemoteBackend] = []

    def run(chat: Any, sampling: SamplingParams | None = None, **options: Any) -> Answer:
        backends.append(connect_url(serve_bytes(chat).url, **options))
        return full_answer(backends[-1], Request(QUESTION, sampling or SamplingParams()))

    yield run
    for backend in backends:
        backend.close()
