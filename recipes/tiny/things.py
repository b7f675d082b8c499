"""What a picture of the drawn world holds, before and after it is drawn.

Coordinates are fractions of the canvas's longer side, x to the right and y downwards, so a canvas
of width 1 and height 0.5 is a wide picture. "Padded" coordinates are those of the square that
LLaVA pads the canvas to, with the canvas in its middle.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

COLOURS = (
    "red", "green", "blue", "yellow", "orange", "purple", "pink", "cyan", "black", "white",
)  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
#: What a line of writing is in its picture; `label` also is the word beside a page's total.
ROLES = ("writing", "title", "total", "stamp", "label")

Point = tuple[float, float]
#: Left, top, right and bottom.
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled shape: centre, circumscribed radius, and its box once it is drawn."""

    kind: str
    colour: str
    x: float
    y: float
    radius: float
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Canvas:
    """The ground of every picture.

    Attributes:
        background: One of `COLOURS`, or None where no colour's name fits (greys, pastels, noise).
        width: The longer of width and height is 1.
        height: See `width`.
    """

    background: str | None
    width: float = 1.0
    height: float = 1.0

    @property
    def offset(self) -> Point:
        """What is added to the canvas's coordinates for padded ones."""
        return (1 - self.width) / 2, (1 - self.height) / 2


@dataclass(frozen=True, slots=True)
class Scene(Canvas):
    """Shapes that do not touch."""

    shapes: tuple[Shape, ...] = ()

    def count(self, colour: str | None = None, kind: str | None = None) -> int:
        """Return how many shapes have this colour and this kind; None stands for any."""
        return sum(colour in (None, s.colour) and kind in (None, s.kind) for s in self.shapes)

    def padded(self, shape: Shape) -> Point:
        """Return the shape's centre in padded coordinates."""
        return shape.x + self.offset[0], shape.y + self.offset[1]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of up to ten characters without spaces, around its middle.

    Attributes:
        text: As written.
        x: The middle.
        y: The middle.
        height: That of a capital letter.
        width: What the line may fill from left to right.
        colour: Of the ink.
        role: One of `ROLES`.
        kind: `number`, `word` (of the list) or `letters` (at random).
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
class Writing(Canvas):
    """One number or word; or many random strings, to learn characters from."""

    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar on its chart's base, and what is written below it."""

    x: float
    width: float
    height: float
    colour: str
    label: Line | None = None


@dataclass(frozen=True, slots=True)
class Chart(Canvas):
    """Two to six bars on a base at the height `base`; one is the tallest, one the shortest."""

    bars: tuple[Bar, ...] = ()
    base: float = 1.0
    title: Line | None = None

    @property
    def lines(self) -> tuple[Line, ...]:
        """Everything that is written."""
        lines = (*(bar.label for bar in self.bars), self.title)
        return tuple(line for line in lines if line is not None)

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
    """A ring or a frame around its middle, turned by radians."""

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
    """A line of text too small to read: it starts at `x` and is `width` long."""

    x: float
    y: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Canvas):
    """A document: a title, lines too small to read, a total with its label, perhaps a stamp."""

    title: Line
    strokes: tuple[Stroke, ...]
    total: Line
    label: Line
    stamp: Stamp | None

    @property
    def lines(self) -> tuple[Line, ...]:
        """Everything that is written large enough to read."""
        lines = (self.title, self.label, self.total, self.stamp and self.stamp.line)
        return tuple(line for line in lines if line is not None)


Picture = Scene | Writing | Chart | Page


@dataclass(frozen=True, slots=True)
class Glyph:
    """A drawn character: its middle in the picture's coordinates, its place in its line."""

    letter: str
    x: float
    y: float
    index: int
    line: Line


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawn picture.

    Attributes:
        image: RGB at its own resolution, not padded.
        picture: What it shows; shapes know their boxes.
        outlines: A polygon for each shape of a scene, in the picture's coordinates.
        glyphs: The drawn characters.
    """

    image: Image.Image
    picture: Picture
    outlines: tuple[tuple[Point, ...], ...] = ()
    glyphs: tuple[Glyph, ...] = ()
