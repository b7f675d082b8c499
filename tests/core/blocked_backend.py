"""A backend that blocks, as one does that encodes an image or waits for its turn."""

from __future__ import annotations

import threading
from typing import Literal

from llava_tools.core.backend import Stream
from llava_tools.core.requests import Request
from llava_tools.testing import ScriptedBackend

#: Where the backend blocks: before it returns its stream, or before the stream's first chunk.
Place = Literal["stream", "chunk"]
PLACES: tuple[Place, ...] = ("stream", "chunk")


class BlockedBackend(ScriptedBackend):
    """Answers "one two three", and blocks until `resume` is set.

    Attributes:
        resume: Lets it go on. A test that never sets it fails after half a minute.
        blocked: Set while it blocks, and from then on.
        resumed: Set when it goes on.
        abandoned: Set when its stream is closed before the end.
    """

    def __init__(self, place: Place) -> None:
        super().__init__(["one two three"], pause=self._pause)
        self._place = place
        self.resume, self.blocked = threading.Event(), threading.Event()
        self.resumed, self.abandoned = threading.Event(), threading.Event()

    def stream(self, request: Request) -> Stream:
        if self._place == "stream":
            self._block()
        return super().stream(request)

    def _pause(self) -> None:
        if self._place == "chunk" and not self.resumed.is_set():
            self._block()

    def _block(self) -> None:
        self.blocked.set()
        self.resume.wait(30)
        self.resumed.set()

    @property
    def closed_early(self) -> int:
        """See `ScriptedBackend`."""
        return self._closed_early

    @closed_early.setter
    def closed_early(self, count: int) -> None:
        self._closed_early = count
        if count:
            self.abandoned.set()
