"""NDJSON: a stream of JSON objects, one a line."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class LineStream(StreamingResponse):
    """Sends encoded lines.

    Args:
        lines: Encoded lines; closed at the end, also if the client leaves.
        background: Runs when all have been sent.
    """

    media_type = "application/x-ndjson"

    def __init__(
        self, lines: AsyncGenerator[bytes], background: BackgroundTask | None = None
    ) -> None:
        super().__init__(lines, background=background)
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines until they end or the client leaves."""
        async with aclosing(self._lines):
            await super().__call__(scope, receive, send)


def encode_line(value: dict[str, Any]) -> bytes:
    """Return a JSON object as a line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
