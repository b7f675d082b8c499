"""Progress of a call: clients see that it runs, and do not give up while a model is loaded.

The value of the progress is the seconds since the call began, since nobody knows how long an answer
will be; the message says what is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from typing import Self

from llava_tools.core.backend import Backend
from llava_tools.core.outputs import Answer, collect
from llava_tools.core.requests import Request
from llava_tools.core.streaming import astream, gather
from llava_tools.tools.requests import BackendSender, ScoringRequest

#: Sends progress, total and message to the client; does nothing if it requested none.
Report = Callable[[float, float | None, str | None], Awaitable[None]]

#: Seconds between two reports.
INTERVAL = 1.0


class Progress:
    """Reports at the start of a call, and then at intervals; an async context manager.

    Args:
        report: Sends a report.
        interval: Seconds between two.

    Attributes:
        state: What is done at the moment.
        tokens: Tokens that were generated so far.
    """

    def __init__(self, report: Report, interval: float = INTERVAL) -> None:
        self.state = "started"
        self.tokens = 0
        self._report = report
        self._interval = interval
        self._start = time.monotonic()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            message = f"{self.state}, {self.tokens} tokens" if self.tokens else self.state
            await self._report(time.monotonic() - self._start, None, message)
            await asyncio.sleep(self._interval)


@dataclass(frozen=True)
class ProgressSender(BackendSender):
    """Sends requests to the backend of a `Llava`, and keeps a call's progress."""

    progress: Progress

    async def aanswer(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """See `RequestSender.aanswer`."""
        return await gather(self._aanswer(request) for request in requests)

    async def ascore(self, request: ScoringRequest) -> Sequence[float]:
        """See `RequestSender.ascore`."""
        self.progress.state = "comparing answers"
        return await super().ascore(request)

    async def _aanswer(self, request: Request) -> Answer:
        load = cache(self._load)  # at the end, the model may be unloaded
        chunks = []
        async with aclosing(astream(load, request)) as stream:
            async for chunk in stream:
                chunks.append(chunk)
                self.progress.state = "answering"
                self.progress.tokens += len(chunk.token_ids)
        return collect(chunks, load().model_name)

    def _load(self) -> Backend:
        self.progress.state = "loading the model"
        backend = self.model.backend
        self.progress.state = "reading the image"
        return backend
