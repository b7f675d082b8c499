"""`Site`, an HTTP server on this machine with answers set by the tests."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from llava_tools.errors import ImageError
from llava_tools.images.fetch import Fetcher, FetchError
from tests.strategies import encoded

IMAGE = encoded(Image.linear_gradient("L").resize((9, 7)), "PNG")
Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """An HTTP server on a free port; it answers each path by a function in `answers`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.release = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append((self.path, dict(self.headers.items())))
                site.answers[self.path.partition("?")[0]](self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # some tests hang up on purpose

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
