"""A server on loopback that answers with any bytes, and what servers should not answer."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, repeat
from typing import Any, ParamSpec, Self

_P = ParamSpec("_P")
#: The bytes of an answer, or pieces of them; a float waits so many seconds, unless the server ends.
#: An iterable that raises `Reset` resets the connection.
Answer = bytes | Iterable[bytes | float]


class Reset(Exception):  # noqa: N818
    """The server resets the connection."""


class HostileServer:
    """A server that sends raw bytes.

    Args:
        chat: The answer to chat completions, or a function of a request's headers that returns it.
        models: The same for the request for the list of models.
        other: The answer to every other request.

    Attributes:
        url: Base URL of the API.
        requests: First line, headers and body of each request.
        closed: Set when a client has left before the end of an answer.
    """

    def __init__(
        self,
        chat: Answer | Callable[[str], Answer] = b"",
        models: Answer | Callable[[str], Answer] | None = None,
        other: Answer = b"",
    ) -> None:
        self._answers = {"/v1/chat/completions": chat, "/v1/models": models or MODELS}
        self._other = other
        self.requests: list[str] = []
        self.closed = threading.Event()
        self._ended = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._socket.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                thread = threading.Thread(target=self._answer, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = _read_request(connection)
            self.requests.append(request)
            answer = self._answers.get(request.split(" ")[1], self._other)
            pieces = answer(request) if callable(answer) else answer
            try:
                for piece in [pieces] if isinstance(pieces, bytes) else pieces:
                    if isinstance(piece, bytes):
                        connection.sendall(piece)
                    elif self._ended.wait(piece):
                        return
            except Reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            except OSError:
                self.closed.set()
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(1)
            while connection.recv(65536):  # a reset could take away what was sent
                pass


def _read_request(connection: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := connection.recv(65536)):
            raise OSError
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(x[15:]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")]
    while len(body) < sum(lengths):
        body += connection.recv(65536)
    return (head + b"\r\n\r\n" + body).decode("latin-1")


def http(body: str | bytes, status: str = "200 OK", **headers: str) -> bytes:
    """Return an answer with its length; names of headers with underscores for hyphens."""
    data = body.encode() if isinstance(body, str) else body
    fields = {"content_type": "application/json", "content_length": str(len(data)), **headers}
    return head(status, **fields) + data


def head(status: str, **headers: str) -> bytes:
    """Return the head of an answer, whose body ends with the connection."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "connection: close", "", ""]).encode()


STREAM = head("200 OK", content_type="text/event-stream")


def events(*values: Any, end: bytes = b"data: [DONE]\n\n") -> bytes:
    """Return a stream of events, each JSON or bytes as they are."""
    return STREAM + b"".join(map(event, values)) + end


def event(value: Any) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return b"data: " + data + b"\n\n"


def chunk(**fields: Any) -> dict[str, Any]:
    """Return a chunk with a choice of these fields."""
    return {"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, **fields}]}


def words(text: str = "ok") -> dict[str, Any]:
    return chunk(delta={"role": "assistant", "content": text}, finish_reason=None)


def logprobs(**fields: Any) -> dict[str, Any]:
    """Return a chunk with a token whose entry has these fields, too."""
    entry = {"token": "ok", "logprob": -1.0, "top_logprobs": [], **fields}
    return chunk(delta={"content": "ok"}, logprobs={"content": [entry]})


STOP = chunk(delta={}, finish_reason="stop")
MODELS = http(json.dumps({"data": [{"id": "llava", "owned_by": "vllm"}]}))
DEEP = b"[" * 200_000 + b"]" * 200_000


class Pieces:
    """Pieces of an answer that begin anew for each request."""

    def __init__(self, start: Callable[[], Iterator[bytes | float]]) -> None:
        self._start = start

    def __iter__(self) -> Iterator[bytes | float]:
        return self._start()


def _anew(
    function: Callable[_P, Iterator[bytes | float]],
) -> Callable[_P, Iterable[bytes | float]]:
    return lambda *args, **kwargs: Pieces(partial(function, *args, **kwargs))


@_anew
def endless(piece: bytes, first: bytes = STREAM) -> Iterator[bytes]:
    yield first
    yield from repeat(piece)


@_anew
def endless_headers() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    for number in count():
        yield b"x-%d: %s\r\n" % (number, b"y" * 1000)


@_anew
def slowly(data: bytes, first: bytes = b"", seconds: float = 0.05) -> Iterator[bytes | float]:
    """Yield bytes one at a time, with pauses, without end."""
    yield first
    while True:
        for byte in data:
            yield bytes([byte])
            yield seconds
