"""`PacingMiddleware`: a user's costly requests leave the processor to others half of the time.

Before the model gets a request, its body is parsed, its images are checked, and maybe it is
refused: on the cores that the model computes on. Any number of such requests could follow one
another. So, while several users are active, the requests of each are prepared one at a time, and
after a preparation the user's next one waits for as long as it took.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llava_tools.server.users import User, Users

#: A user is active for so many seconds after his last request.
ACTIVE_SECONDS = 1.0
#: Most seconds that a request waits for; what took longer waited for something itself.
LONGEST_REST = 2.0
#: Bytes of a body that are received in a second of a core's time, about.
_BYTES_PER_SECOND = 300e6


class PacingMiddleware:
    """Lets the requests of a user begin in turns while other users are active.

    Args:
        app: Answers the requests.
        users: Those of the server.
        clock: Returns seconds.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        users: Users,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._app = app
        self._users = users
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
        user = turn.user
        if not self._has_company(user):
            return
        await user.preparing.acquire()
        try:
            await self._sleep(max(user.rests_until - self._clock(), 0))
        except BaseException:
            user.preparing.release()
            raise
        turn.begin(size / _BYTES_PER_SECOND)

    def _has_company(self, user: User) -> bool:
        since = self._clock() - ACTIVE_SECONDS
        return any(
            other.pending or other.seen > since for other in self._users if other is not user
        )


class _Turn:
    """A request's preparation, for which its user's lock is held."""

    def __init__(self, user: User, clock: Callable[[], float]) -> None:
        self.user = user
        self._clock = clock
        self._start: float | None = None

    def begin(self, cost: float) -> None:
        """Begin, with the lock held; `cost` is what was computed for it before, in seconds."""
        self._start = self._clock() - cost

    def end(self) -> None:
        """End it, if it began and has not ended yet."""
        if self._start is not None:
            now = self._clock()
            self.user.rests_until = now + min(now - self._start, LONGEST_REST)
            self._start = None
            self.user.preparing.release()


_current: ContextVar[_Turn | None] = ContextVar("llava_tools_turn", default=None)


def end_turn() -> None:
    """Note that the current request is prepared: the model gets it."""
    if (turn := _current.get()) is not None:
        turn.end()
