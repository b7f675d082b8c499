"""Server-sent events, the format of streamed answers, read within bounds.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncGenerator, AsyncIterator

from llava_tools.remote.errors import AnswerTooLongError

#: Bytes of one event: one with the ids of a long prompt's tokens takes about a million.
MAX_EVENT_BYTES = 8 * 2**20
_END = b"[DONE]"


async def read_events(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the data of each event until `[DONE]`, from the bytes of a body in any pieces.

    Of the other fields and of comments nothing is needed. Data without a blank line after it counts
    too, since some servers leave out the last one.

    Raises:
        AnswerTooLongError: A line or an event is too long.
    """
    data: list[bytes] = []
    size = 0
    is_first = True
    async for lines in _lines(pieces):
        for line in lines:
            if is_first:
                line, is_first = line.removeprefix(codecs.BOM_UTF8), False
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
                size += len(line)
                if size > MAX_EVENT_BYTES:
                    raise _too_long()
            elif not line and data:
                event, data, size = b"\n".join(data), [], 0
                if event.strip() == _END:
                    return
                yield event
    if data and data[0].strip() != _END:
        yield b"\n".join(data)


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncGenerator[list[bytes]]:
    r"""Yield the lines that each piece completes, without their ends: `\n`, `\r\n` or `\r`."""
    held = bytearray()
    ended_with_return = False  # a line feed that follows is part of the same end
    async for piece in pieces:
        if ended_with_return and piece.startswith(b"\n"):
            piece = piece[1:]
        ended_with_return = piece.endswith(b"\r")
        first, *lines = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        held += first
        if lines:
            yield [bytes(held), *lines[:-1]]
            held = bytearray(lines[-1])
        if len(held) > MAX_EVENT_BYTES:
            raise _too_long()
    if held:
        yield [bytes(held)]


def _too_long() -> AnswerTooLongError:
    return AnswerTooLongError(f"{MAX_EVENT_BYTES:,} bytes in one event")
