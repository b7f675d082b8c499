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
        held, stops = self._held, self._stops
        ends = [(i + len(stop), i) for stop in stops if (i := held.find(stop)) >= 0]
        if ends:  # the first to be complete wins, however the text was split into chunks
            self.stopped = True
            self._held = held[: min(ends)[1]]
            return ""
        safe = len(held.rstrip())
        for stop in stops:
            for length in range(min(len(stop) - 1, len(held)), 0, -1):
                if held.endswith(stop[:length]):
                    safe = min(safe, len(held[:-length].rstrip()))
                    break
        self._held = held[safe:]
        return held[:safe]

    def flush(self) -> str:
        """Return the held text at the end of the answer, without trailing white space."""
        text, self._held = self._held.rstrip(), ""
        return text
