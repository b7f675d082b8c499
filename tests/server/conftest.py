from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.testclient import TestClient

from llava_tools import Llava
from llava_tools.server.app import create_app
from llava_tools.server.options import ServerOptions
from llava_tools.testing import ScriptedBackend

MakeClient = Callable[..., TestClient]


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    """Creates clients of a server over a backend, whose model is loaded."""
    with ExitStack() as stack:

        def make(backend: Any = None, embedder: Any = None, **options: Any) -> TestClient:
            model = Llava(backend=backend or ScriptedBackend())
            app = create_app(ServerOptions(**options), model, embedder)
            app.state.service.load()
            client = TestClient(app, "http://localhost", raise_server_exceptions=False)
            return stack.enter_context(client)

        yield make
