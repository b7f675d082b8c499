"""Detects stop strings in a stream of text and strips surrounding white space."""

from __future__ import annotations

from collections.abc import Sequence


class StopStringFilter:
    """Passes text on until a stop string; holds back what may begin one, and trailing white space.

    The official code strips whole answers. In a stream, leading white space is dropped, and later
    white space is held back until other text follows.

    Attributes:
        stopped: Whether a stop string was found; it and the text after it are dropped.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stopped = False
        self._stops = stops
        self._held = ""
        self._begun = False

    def feed(self, text: str) -> str:
        """Add text; return the text that can be passed on."""
        self._held += text
        if not self._begun:
            self._held = self._held.lstrip()
            self._begun = bool(self._held)
        matches = [
            (start + len(stop), start)
            for stop in self._stops
            if (start := self._held.find(stop)) >= 0
        ]
        if matches:  # the first to be complete wins, however the text was split into chunks
            self.stopped = True
            self._held = self._held[: min(matches)[1]]
            return ""
        safe = len(self._held.rstrip())
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(self._held)), 0, -1):
                if self._held.endswith(stop[:length]):
                    safe = min(safe, len(self._held[:-length].rstrip()))
                    break
        passed, self._held = self._held[:safe], self._held[safe:]
        return passed

    def flush(self) -> str:
        """Return the held text at the end of the answer, without trailing white space."""
        text, self._held = self._held.rstrip(), ""
        return text
