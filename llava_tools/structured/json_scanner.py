"""Finds the end of JSON in a stream of text."""

from __future__ import annotations

from pydantic_core import from_json


def is_partial_json(text: str) -> bool:
    """Return whether a text begins a JSON value."""
    try:
        from_json(text, allow_partial="trailing-strings")
    except ValueError:
        return False
    return True


class JsonScanner:
    """Finds the end of a JSON object that arrives in chunks."""

    def __init__(self) -> None:
        self.finished = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, text: str) -> int:
        """Return the number of characters of `text` that belong to the object."""
        for length, character in enumerate(text, start=1):
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = character == "\\"
                self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
            if self._depth < 1 and not character.isspace():
                self.finished = True
                return length
        return len(text)
