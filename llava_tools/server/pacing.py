"""`PacingMiddleware`: a user's costly requests leave the processor to others most of the time.

A request is parsed, its images are checked, its schema is compiled, and its prompt is computed, or
it is refused, or texts are embedded: on the cores that compute everybody's answers. Any number of
such requests could follow one another. So, while several users are active, the requests of each
take turns. A turn lasts from the end of the body until the first chunk of the answer, or until the
response. After it the user's next one waits for twice as long as this one was worked on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llava_tools.errors import QueueFullError
from llava_tools.server.users import User, Users

#: A user is active for so many seconds after his last request.
ACTIVE_SECONDS = 1.0
#: Seconds of rest for each second of work. With 1, some requests more than doubled others' latency.
REST = 2.0
#: Most seconds that a request waits for.
LONGEST_REST = 2.0
#: Bytes of a body that are received in a second of a core's time, about.
_BYTES_PER_SECOND = 300e6


class PacingMiddleware:
    """Lets the requests of a user take turns while other users are active.

    Args:
        app: Answers the requests.
        users: Those of the server.
        most_queued: Requests of a user that wait for their turn, at most; more get 429.
        clock: Returns seconds.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        users: Users,
        most_queued: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._app = app
        self._users = users
        self._most_queued = most_queued
        self._clock = clock
        self._sleep = sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, in its user's turn from the end of its body on."""
        user: User | None = scope.get("state", {}).get("user")
        if scope["type"] != "http" or user is None:
            await self._app(scope, receive, send)
            return
        turn = _Turn(user, self._clock)
        token = _current.set(turn)
        size = 0

        async def receive_in_turn() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if message["type"] == "http.request" and not message.get("more_body", False):
                await self._wait_for(turn, size)
            return message

        async def send_after_turn(message: Message) -> None:
            turn.end()
            await send(message)

        user.seen = self._clock()
        try:
            await self._app(scope, receive_in_turn, send_after_turn)
        finally:
            user.seen = self._clock()
            turn.end()
            _current.reset(token)

    async def _wait_for(self, turn: _Turn, size: int) -> None:
        """Begin a turn once the user's last one and the rest after it are over.

        Raises:
            QueueFullError: Too many requests of the user wait for theirs.
        """
        user = turn.user
        if not self._has_company(user):
            return
        if user.queued >= self._most_queued:
            raise QueueFullError(
                f"{user.queued} requests of this API key wait for their turn, which is its limit.",
                "Wait for their answers.",
            )
        user.queued += 1
        try:
            await user.turn.acquire()
            try:
                await self._sleep(max(user.rests_until - self._clock(), 0))
            except BaseException:
                user.turn.release()
                raise
        finally:
            user.queued -= 1
        turn.begin(size / _BYTES_PER_SECOND)

    def _has_company(self, user: User) -> bool:
        since = self._clock() - ACTIVE_SECONDS
        return any(
            other.pending or other.queued or other.seen > since
            for other in self._users
            if other is not user
        )


class _Turn:
    """A request's turn, for which its user's lock is held.

    Attributes:
        waited: Seconds of it in which something else was worked on.
    """

    def __init__(self, user: User, clock: Callable[[], float]) -> None:
        self.user = user
        self.waited = 0.0
        self._clock = clock
        self._start: float | None = None

    def begin(self, cost: float) -> None:
        """Begin, with the lock held; `cost` is what was computed for it before, in seconds."""
        self._start = self._clock() - cost

    def end(self) -> None:
        """End it, if it began and has not ended yet."""
        if self._start is not None:
            now = self._clock()
            work = max(now - self._start - self.waited, 0)
            self.user.rests_until = now + min(REST * work, LONGEST_REST)
            self._start = None
            self.user.turn.release()


_current: ContextVar[_Turn | None] = ContextVar("llava_tools_turn", default=None)


def add_wait(seconds: float) -> None:
    """Note that the current request waited, during its turn, while something else was worked on."""
    if (turn := _current.get()) is not None:
        turn.waited += seconds


def end_turn(waited: float = 0.0) -> None:
    """End the turn of the current request, which waited for some seconds of it."""
    add_wait(waited)
    if (turn := _current.get()) is not None:
        turn.end()
