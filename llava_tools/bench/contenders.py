"""Contenders of a benchmark: the protocol, and backends that implement it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from llava_tools.core.backend import Backend
from llava_tools.core.outputs import Chunk, collect
from llava_tools.core.requests import Request


@dataclass(frozen=True)
class AnswerTiming:
    """The timing of one answer, in seconds since its request.

    Attributes:
        first: When its first token came.
        total: When it was complete.
        tokens: How many it has.
    """

    first: float
    total: float
    tokens: int

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens per second after the first one; None if there is only one."""
        return (self.tokens - 1) / (self.total - self.first) if self.tokens > 1 else None


class Contender(Protocol):
    """Answers requests, and measures the time. Both methods may raise `LlavaToolsError`."""

    @property
    def name(self) -> str:
        """The name in the table."""
        ...

    def run(self, request: Request) -> AnswerTiming:
        """Answer one request."""
        ...

    def run_all(self, requests: Sequence[Request]) -> float:
        """Answer several requests that come at once; return the seconds until the last answer."""
        ...


class BackendContender:
    """A backend: the engine of this process, or a server.

    Args:
        name: The name in the table.
        backend: The backend.
    """

    def __init__(self, name: str, backend: Backend) -> None:
        self.name = name
        self._backend = backend

    def run(self, request: Request) -> AnswerTiming:
        """See `Contender.run`."""
        start = time.perf_counter()
        stream = self._backend.stream(request)
        chunks: list[Chunk] = []
        first = 0.0
        try:
            for chunk in stream:
                first = first or time.perf_counter() - start
                chunks.append(chunk)
        finally:
            stream.close()
        total = time.perf_counter() - start
        return AnswerTiming(first, total, collect(chunks, self.name).usage.completion_tokens)

    def run_all(self, requests: Sequence[Request]) -> float:
        """See `Contender.run_all`: each request has its own thread."""
        start = time.perf_counter()
        with ThreadPoolExecutor(len(requests)) as pool:
            list(pool.map(self.run, requests))
        return time.perf_counter() - start
