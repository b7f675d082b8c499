"""Server-sent events: a stream of JSON objects as the response to a request."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from llava_tools.errors import LlavaToolsError
from llava_tools.server.errors import to_http

#: Seconds that a running stream gets when the server is stopped; less than the server itself waits.
_GRACE_SECONDS = 29.0
#: The last event of a chat completion.
DONE = b"data: [DONE]\n\n"


class EventStream(EventSourceResponse):
    """Sends encoded events, with a comment every 15 seconds, so that no proxy closes the stream.

    Args:
        events: Encoded events; closed at the end, also if the client leaves.
    """

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(events, shutdown_grace_period=_GRACE_SECONDS)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they end or the client leaves."""
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


def encode_event(value: Any, name: str = "") -> bytes:
    """Return an event with JSON as its data."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data}\n\n".encode()


def error_body(error: LlavaToolsError) -> dict[str, Any]:
    """Return the error that ends a stream which has started; its status cannot change any more."""
    return to_http(error).openai_body()
