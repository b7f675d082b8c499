"""Writing, bar charts and pages, before anybody draws them.

Coordinates are those of :mod:`~recipes.tiny_llava.world`: fractions of the canvas's longer side,
x to the right and y downwards.
"""

from __future__ import annotations

from dataclasses import dataclass

ROLES = ("writing", "title", "total", "stamp", "label")
"""What a line of writing is in its picture; ``label`` also is the word beside a page's total."""

MOST_GLYPHS = 10
"""The longest line of writing, in characters."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of up to ``MOST_GLYPHS`` characters without spaces, around its middle.

    ``height`` is that of a capital letter, ``width`` what the line may fill from left to right,
    ``kind`` what it is: ``"number"``, ``"word"`` (of the list), ``"letters"`` (at random).
    """

    text: str
    x: float
    y: float
    height: float
    width: float
    colour: str
    role: str = "writing"
    kind: str = "word"


@dataclass(frozen=True, slots=True)
class Writing:
    """One number or word on a ground, or (to learn characters from) many of them."""

    lines: tuple[Line, ...]
    background: str | None
    width: float = 1.0
    height: float = 1.0

    @property
    def line(self) -> Line:
        """The only line, or the first."""
        return self.lines[0]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar that stands on its chart's base: middle, width and height, and what is below it."""

    x: float
    width: float
    height: float
    colour: str
    label: Line | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """Two to six bars on a common base at ``base``; one is the tallest, one the shortest."""

    bars: tuple[Bar, ...]
    base: float
    title: Line | None
    background: str | None
    width: float = 1.0
    height: float = 1.0

    @property
    def lines(self) -> tuple[Line, ...]:
        """Everything that is written."""
        labels = tuple(bar.label for bar in self.bars if bar.label is not None)
        return labels if self.title is None else (*labels, self.title)

    @property
    def tallest(self) -> Bar:
        """The bar that is taller than all others."""
        return max(self.bars, key=lambda bar: bar.height)

    @property
    def shortest(self) -> Bar:
        """The bar that is shorter than all others."""
        return min(self.bars, key=lambda bar: bar.height)


@dataclass(frozen=True, slots=True)
class Stamp:
    """A ring or a frame on a page, ``width`` × ``height`` around its middle, turned by radians."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    round: bool
    turn: float = 0.0
    line: Line | None = None


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line of text too small to read: it starts at ``x`` and is ``width`` long."""

    x: float
    y: float
    width: float


@dataclass(frozen=True, slots=True)
class Page:
    """A document: a title, lines too small to read, a total with its label, perhaps a stamp."""

    title: Line
    strokes: tuple[Stroke, ...]
    total: Line
    label: Line
    stamp: Stamp | None
    background: str | None
    width: float = 1.0
    height: float = 1.0

    @property
    def lines(self) -> tuple[Line, ...]:
        """Everything that is written large enough to read."""
        stamped = self.stamp.line if self.stamp is not None else None
        return (self.title, self.label, self.total, *((stamped,) if stamped is not None else ()))


Wide = Writing | Chart | Page
