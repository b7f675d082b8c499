"""Matches regular expressions with look-around in bounded time.

Sets of positions advance together, so that no pattern takes exponential time; look-ahead is matched
backward from all positions at once. Back references, flags, and atomic or possessive parts are not
supported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from llava_tools.errors import OutputError

#: Steps of one position after which a text is refused.
MAX_STEPS = 2_000_000
#: Maximum nesting of groups.
MAX_DEPTH = 50

_ATOM = re.compile(
    r"\[\^?\]?(?:\\.|[^\\\]])*\]|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\\D|[^\\]", re.S
)
_ASSERTIONS = frozenset({"^", r"\Z", r"\A", r"\b", r"\B"})
_SET_OPERATION = re.compile(r"\[|&&|--|~~|\|\|")
# No more digits than a count needs: more take Python quadratic time, or raise.
_QUANTIFIER = re.compile(r"(?:([*+?])|\{(\d{1,9})(,?)(\d{0,9})\})\??(?!\+)")
_GROUP = re.compile(r"\((?:\?(?:(<?[=!])|:|P?<\w+>))?(?!\?)")
_BOUNDS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class _Text:
    """A text, and the steps that its matching may still take."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.positions = set(range(len(text) + 1))
        self.looks: dict[_Part, set[int]] = {}
        self._steps = MAX_STEPS

    def count(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise OutputError(
                f"A text of {len(self.text):,} characters takes too long to check against a "
                "pattern with look-around.",
                "Leave look-around out of the pattern, or set maxLength.",
            )


#: From the positions where a part begins to those where it ends; backward the other way round.
_Part = Callable[[_Text, set[int], bool], set[int]]


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Callable[[str], bool] | None:
    """Return a function that tells whether a text contains a match; None if it is unsupported."""
    try:
        part = _Parser(pattern).parse()
    except (_UnsupportedError, re.error, RecursionError):
        return None

    def matches(text: str) -> bool:
        state = _Text(text)
        return bool(part(state, state.positions, False))

    return matches


class _UnsupportedError(Exception):
    """Syntax that is not supported."""


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._position = 0
        self._depth = 0

    def parse(self) -> _Part:
        part = self._alternatives()
        if self._position < len(self._pattern):
            raise _UnsupportedError
        return part

    def _next(self) -> str:
        return self._pattern[self._position : self._position + 1]

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._pattern, self._position)
        if match is not None:
            self._position = match.end()
        return match

    def _alternatives(self) -> _Part:
        branches = [self._sequence()]
        while self._next() == "|":
            self._position += 1
            branches.append(self._sequence())

        def union(text: _Text, starts: set[int], backward: bool) -> set[int]:
            text.count(len(branches) * len(starts))
            return set().union(*(branch(text, starts, backward) for branch in branches))

        return union if len(branches) > 1 else branches[0]

    def _sequence(self) -> _Part:
        parts: list[_Part] = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._quantified(self._item()))

        def chain(text: _Text, starts: set[int], backward: bool) -> set[int]:
            for part in reversed(parts) if backward else parts:
                starts = part(text, starts, backward)
            return starts

        return chain

    def _item(self) -> _Part:
        if self._next() == "(":
            group = self._take(_GROUP)
            if group is None:
                raise _UnsupportedError
            self._depth += 1
            part = self._alternatives()
            if self._next() != ")" or self._depth > MAX_DEPTH:
                raise _UnsupportedError
            self._depth -= 1
            self._position += 1
            return part if group[1] is None else _look(part, group[1])
        atom = self._take(_ATOM)
        if atom is None or atom[0] in "*+?{" or _SET_OPERATION.search(atom[0], 1):
            raise _UnsupportedError
        # One character or an assertion: nothing to backtrack into.
        return _atom(re.compile(r"\Z" if atom[0] == "$" else atom[0], re.ASCII))

    def _quantified(self, part: _Part) -> _Part:
        quantifier = self._take(_QUANTIFIER)
        if quantifier is None:
            return part
        symbol, low, comma, high = quantifier.groups()
        if symbol:
            return _repeat(part, *_BOUNDS[symbol])
        most = int(high) if high else None if comma else int(low)
        return _repeat(part, int(low), most)


def _atom(pattern: re.Pattern[str]) -> _Part:
    """Return the part of a pattern that takes one character or none."""
    width = 0 if pattern.pattern in _ASSERTIONS else 1

    def step(text: _Text, starts: set[int], backward: bool) -> set[int]:
        text.count(len(starts))
        begins = {start - width for start in starts if start >= width} if backward else starts
        matching = {begin for begin in begins if pattern.match(text.text, begin)}
        return matching if backward else {begin + width for begin in matching}

    return step


def _repeat(part: _Part, low: int, high: int | None) -> _Part:
    def repeat(text: _Text, starts: set[int], backward: bool) -> set[int]:
        for _ in range(low):
            if not starts:
                break
            text.count(len(starts))
            starts = part(text, starts, backward)
        reached, new, count = set(starts), starts, low
        while new and (high is None or count < high):
            text.count(len(new))
            new = part(text, new, backward) - reached
            reached |= new
            count += 1
        return reached

    return repeat


def _look(part: _Part, kind: str) -> _Part:
    """Return the part of a look-ahead (`=`, `!`) or look-behind (`<=`, `<!`): it takes no text."""

    def look(text: _Text, starts: set[int], backward: bool) -> set[int]:
        if part not in text.looks:  # where the inner part begins, or for look-behind ends
            text.looks[part] = part(text, text.positions, not kind.startswith("<"))
        text.count(len(starts))
        found = text.looks[part]
        return starts & found if kind.endswith("=") else starts - found

    return look
