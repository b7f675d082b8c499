"""A kind of answer of a hostile server, and how answers are written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from llava_tools.errors import (
    AnswerTimeoutError,
    LlavaToolsError,
)
from tests.remote.hostile_server import (
    STOP,
    STREAM,
    Pieces,
    Reset,
    chunk,
    events,
    head,
    http,
    words,
)

#: The text of a right answer.
TEXT = "ok"
RIGHT = events(words(TEXT), STOP)
BODY = RIGHT[len(STREAM) :]
CHUNKED = head("200 OK", transfer_encoding="chunked", content_type="text/event-stream")


@dataclass(frozen=True)
class Kind:
    """A kind of answer.

    Attributes:
        answer: The bytes, or a function of the request that returns them.
        allowed: The class of the error that it leads to; of several one, None for the right text.
        where: What is answered so: `chat`, `models`, `other`; or `own`, the chat of a server that
            says it is this project's.
    """

    answer: Any
    allowed: tuple[type[LlavaToolsError] | None, ...]
    where: str = "chat"

    @property
    def is_slow(self) -> bool:
        """Whether nothing but a time limit ends it."""
        return AnswerTimeoutError in self.allowed


def whole(content: Any = TEXT, **fields: Any) -> bytes:
    """Return a chat completion that is no stream."""
    message = {"role": "assistant", "content": content}
    return http(json.dumps({**chunk(message=message, finish_reason="stop"), **fields}))


def chunked(body: bytes, size: int, end: bytes = b"0\r\n\r\n", extension: bytes = b"") -> bytes:
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return CHUNKED + b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces) + end


def with_status(status: str, body: bytes | str = "busy", **headers: str) -> bytes:
    return http(body, status, **headers)


def refusal(message: str, status: str = "400 Bad Request", **fields: Any) -> bytes:
    return with_status(status, json.dumps({"error": {"message": message, **fields}}))


def say(text: str) -> bytes:
    return events(words(text), STOP)


def if_streamed(answer: Any) -> Callable[[str], Any]:
    """Answer so what is streamed, and refuse the rest, by which clients try what is enforced."""

    def reply(request: str) -> Any:
        if '"stream": true' not in request:
            return refusal("no")
        return answer(request) if callable(answer) else answer

    return reply


def then_reset(data: bytes) -> Pieces:
    def pieces() -> Iterator[bytes]:
        yield data
        raise Reset

    return Pieces(pieces)


def echo(status: str) -> Callable[[str], bytes]:
    return lambda request: refusal(request, status)


def list_models(*entries: Any) -> bytes:
    return http(json.dumps({"data": list(entries)}))


def header_values(request: str) -> list[str]:
    """Return the values of a request's headers."""
    return [line.partition(": ")[2] for line in request.split("\r\n")[1:] if ": " in line]
