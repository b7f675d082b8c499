"""Who can be measured: whatever answers a `Request` and says when its tokens came."""

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
class Run:
    """One answer, in seconds from the moment that it was asked for.

    Attributes:
        first: When its first token was there.
        total: When it was over.
        tokens: How many it has.
    """

    first: float
    total: float
    tokens: int

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens a second after the first one; None where there are no more."""
        return (self.tokens - 1) / (self.total - self.first) if self.tokens > 1 else None


class Contender(Protocol):
    """Somebody to be measured."""

    @property
    def name(self) -> str:
        """As the table calls it."""
        ...

    def run(self, request: Request) -> Run:
        """Answer one request.

        Raises:
            LlavaToolsError: It cannot.
        """
        ...

    def run_all(self, requests: Sequence[Request]) -> float:
        """Answer several that come at once, as well as it can; return the seconds that it took.

        Raises:
            LlavaToolsError: It cannot.
        """
        ...


class Behind:
    """A backend as a contender: the engine of this process, or a server.

    Args:
        name: As the table calls it.
        backend: Whom to ask.
    """

    def __init__(self, name: str, backend: Backend) -> None:
        self.name = name
        self._backend = backend

    def run(self, request: Request) -> Run:
        """See `Contender.run`."""
        begin = time.perf_counter()
        stream = self._backend.stream(request)
        deltas: list[Chunk] = []
        first = 0.0
        try:
            for delta in stream:
                first = first or time.perf_counter() - begin
                deltas.append(delta)
        finally:
            stream.close()
        total = time.perf_counter() - begin
        return Run(first, total, collect(deltas, self.name).usage.completion_tokens)

    def run_all(self, requests: Sequence[Request]) -> float:
        """See `Contender.run_all`: each from a thread of its own."""
        begin = time.perf_counter()
        with ThreadPoolExecutor(len(requests)) as pool:
            list(pool.map(self.run, requests))
        return time.perf_counter() - begin
