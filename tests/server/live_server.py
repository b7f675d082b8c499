"""A server on a free port of this machine, in a thread, for clients that need a real one."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Any, Self

import uvicorn

from llava_tools import Llava
from llava_tools.server.app import create_app
from llava_tools.server.options import ServerOptions


class LiveServer:
    """A running server; leaving its `with` block ends it.

    Args:
        model: Answers the requests; closed at the end.
        embedder: As in `create_app`.
        **options: Fields of `ServerOptions`.

    Attributes:
        url: Without a path, like `http://127.0.0.1:40000`.
        service: Its `Service`.
    """

    def __init__(self, model: Llava, embedder: Any = None, **options: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        app = create_app(ServerOptions(**options), model, embedder)
        self.service = app.state.service
        self.service.load()
        config = uvicorn.Config(app, log_level="warning", lifespan="on")
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._server.is_up.wait(30)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._socket.close()
        assert not self._thread.is_alive()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()
