"""A backend that fails after some chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llava_tools.core.backend import Stream
from llava_tools.core.outputs import Chunk
from llava_tools.core.requests import Request
from llava_tools.testing import ScriptedBackend


class FailingBackend(ScriptedBackend):
    """A backend whose streams yield some chunks and then raise an error."""

    def __init__(self, chunks: Sequence[Chunk], error: Exception) -> None:
        super().__init__()
        self._chunks, self._error = chunks, error

    def stream(self, request: Request) -> Stream:
        return _FailingStream(self._chunks, self._error)


class _FailingStream(Iterator[Chunk]):
    def __init__(self, chunks: Sequence[Chunk], error: Exception) -> None:
        self._left, self._error = list(chunks), error

    def __next__(self) -> Chunk:
        if not self._left:
            raise self._error
        return self._left.pop(0)

    def close(self) -> None:
        pass


def replace_backend(client: Any, backend: ScriptedBackend) -> None:
    """Let the server behind a client answer with another backend, which is not warmed up."""
    client.app.state.service.model._backend = backend
