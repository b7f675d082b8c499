"""Where an answer ends: stop strings, and the white space around it."""

from __future__ import annotations

from collections.abc import Sequence


class StopStringFilter:
    """Text on its way out: held back while it may become a stop string or trailing space.

    The official code strips answers; in a stream that means to drop white space at the beginning
    and to hold it until something follows.

    Attributes:
        stopped: Whether a stop string was met; it and what follows are dropped.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stopped = False
        self._stops = stops
        self._held = ""
        self._begun = False

    def feed(self, text: str) -> str:
        """Take new text; return what may be shown."""
        self._held += text
        if not self._begun:
            self._held = self._held.lstrip()
            self._begun = bool(self._held)
        met = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if met:  # the one that is complete first, however the text was cut
            self.stopped = True
            self._held = self._held[: min(met)[1]]
            return ""
        sure = len(self._held.rstrip())
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(self._held)), 0, -1):
                if self._held.endswith(stop[:length]):
                    sure = min(sure, len(self._held[:-length].rstrip()))
                    break
        shown, self._held = self._held[:sure], self._held[sure:]
        return shown

    def rest(self) -> str:
        """Return what is still held when the answer is over, without trailing white space."""
        held, self._held = self._held.rstrip(), ""
        return held
