"""Detects stop strings in a stream of text and strips surrounding white space."""

from __future__ import annotations

from collections.abc import Sequence


class StopStringFilter:
    """Passes text on until a stop string; holds back what may begin one, and trailing white space.

    The official code strips whole answers. In a stream, leading white space is dropped, and later
    white space is text back until other text follows.

    Attributes:
        found: The stop string that was found, or ""; it and the text after it are dropped.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.found = ""
        self._stops = stops
        self._buffer = ""
        self._begun = False

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return bool(self.found)

    def feed(self, text: str) -> str:
        """Add text; return the text that can be passed on."""
        text = self._buffer + text
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        ends = [(i + len(stop), i, stop) for stop in self._stops if (i := text.find(stop)) >= 0]
        if ends:  # the first to be complete wins, however the text was split into chunks
            _, begin, self.found = min(ends)
            self._buffer = text[:begin]
            return ""
        safe = len(text.rstrip())
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(text)), 0, -1):
                if text.endswith(stop[:length]):
                    safe = min(safe, len(text[:-length].rstrip()))
                    break
        self._buffer = text[safe:]
        return text[:safe]

    def flush(self) -> str:
        """Return the buffered text at the end of the answer, without trailing white space."""
        text, self._buffer = self._buffer.rstrip(), ""
        return text
