"""`Admission`: how many requests may wait or run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llava_tools.errors import QueueFullError
from llava_tools.server.options import ServerOptions
from llava_tools.server.users import User


class Admission:
    """Counts the requests that wait or run, and refuses more than the options allow.

    Used in the event loop's thread only.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.pending = 0
        self._options = options

    @contextmanager
    def admit(self, user: User) -> Iterator[None]:
        """Count a request while it runs.

        Raises:
            QueueFullError: Too many are running, in all or of this user.
        """
        if self.pending >= self._options.max_pending:
            raise QueueFullError(
                f"{self.pending} requests wait or run, which is the limit.", "Try again later."
            )
        if user.pending >= self._options.max_pending_per_key:
            raise QueueFullError(
                f"{user.pending} requests of this API key wait or run, which is its limit.",
                "Wait for their answers.",
            )
        self.pending += 1
        user.pending += 1
        try:
            yield
        finally:
            self.pending -= 1
            user.pending -= 1
