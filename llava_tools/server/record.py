"""`RequestRecord`: what is measured of one HTTP request. It never holds contents.

`recording` makes one for each request; `generation` adds what it sees to the current one; metrics,
logs and traces read it when the request is over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from llava_tools.core.outputs import Chunk
from llava_tools.core.requests import Request


@dataclass
class RequestRecord:
    """Measurements of a request.

    Attributes:
        method: HTTP method.
        route: Path of the route, with names for its parameters; "" for none.
        protocol: `openai`, `ollama`, `page`, or `server` for what belongs to none.
        headers: Those of tracing.
        user: Name of the user; "" for none.
        status: HTTP status; 499 if the client left before it was known.
        started: Unix time at its beginning, in seconds.
        seconds: Duration until the last byte of the response.
        images: Images in the prompts.
        prompt_tokens: Tokens of the prompts, images included.
        cached_tokens: Those whose KV was reused.
        generated_tokens: Tokens of the answers, those that were not finished too.
        first_token: Seconds until the first token of an answer; None without one.
        finish_reason: Of the last answer; "" if it was not finished.
        error: Class of the error that ended an answer; `Cancelled` if the client left, or the
            server stopped.
    """

    method: str
    route: str
    protocol: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str = ""
    status: int = 0
    started: float = field(default_factory=time.time)
    seconds: float = 0.0
    images: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    first_token: float | None = None
    finish_reason: str = ""
    error: str = ""
    _uncounted_tokens: int = field(default=0, repr=False)
    _clock_start: float = field(default_factory=time.monotonic, repr=False)

    @contextmanager
    def answering(self, request: Request) -> Iterator[None]:
        """Count a request to the model, and how its answer ends."""
        self.images += sum(len(message.images) for message in request.messages)
        self.finish_reason = ""
        try:
            yield
        except Exception as error:
            self.error = type(error).__name__
            raise
        finally:
            self.generated_tokens += self._uncounted_tokens
            self._uncounted_tokens = 0
            if not self.finish_reason and not self.error:
                self.error = "Cancelled"

    def add_chunk(self, chunk: Chunk) -> None:
        """Count a chunk of its answer."""
        if self.first_token is None:
            self.first_token = self.elapsed()
        self._uncounted_tokens += len(chunk.token_ids)
        if chunk.usage is not None:
            self.prompt_tokens += chunk.usage.prompt_tokens
            self.cached_tokens += chunk.usage.cached_tokens
            self.generated_tokens += chunk.usage.completion_tokens
            self._uncounted_tokens = 0
        self.finish_reason = chunk.finish_reason or ""

    def elapsed(self) -> float:
        """Return the seconds since its beginning."""
        return time.monotonic() - self._clock_start


_current: ContextVar[RequestRecord | None] = ContextVar("llava_tools_request", default=None)


def current_record() -> RequestRecord:
    """Return the record of the HTTP request that runs; one that nobody reads outside of any."""
    return _current.get() or RequestRecord("", "", "server")


def set_current(record: RequestRecord) -> None:
    """Make a record the current one, for this task and those that it starts."""
    _current.set(record)
