"""Contenders of a benchmark: the protocol, and backends that implement it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from llava_tools.core.backend import Backend
from llava_tools.core.outputs import Chunk, collect
from llava_tools.core.requests import Request


@dataclass(frozen=True)
class AnswerTiming:
    """Seconds from a request to the `first` token and to the last (`total`); number of tokens."""

    first: float
    total: float
    tokens: int

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens per second after the first one; None if there is only one."""
        return (self.tokens - 1) / (self.total - self.first) if self.tokens > 1 else None


class Contender(Protocol):
    """Answers requests, and measures the time. Both methods may raise `LlavaToolsError`."""

    name: str
    """The name in the table."""

    def run(self, request: Request) -> AnswerTiming:
        """Answer one request."""
        ...

    def run_all(self, requests: Sequence[Request]) -> float:
        """Answer several requests that come at once; return the seconds until the last answer."""
        ...


@dataclass
class BackendContender:
    """A backend: the engine of this process, or a server."""

    name: str
    backend: Backend

    def run(self, request: Request) -> AnswerTiming:
        """See `Contender.run`."""
        chunks: list[Chunk] = []
        first, start = 0.0, time.perf_counter()
        with closing(self.backend.stream(request)) as stream:
            for chunk in stream:
                first = first or time.perf_counter() - start
                chunks.append(chunk)
        total = time.perf_counter() - start
        return AnswerTiming(first, total, collect(chunks, self.name).usage.completion_tokens)

    def run_all(self, requests: Sequence[Request]) -> float:
        """See `Contender.run_all`: each request has its own thread."""
        start = time.perf_counter()
        with ThreadPoolExecutor(len(requests)) as pool:
            list(pool.map(self.run, requests))
        return time.perf_counter() - start
