"""What a picture of the drawn world holds, before and after it is drawn.

Places, of things' middles, and lengths are fractions of the canvas's longer side, from its upper
left corner; "padded" ones are of the square that LLaVA pads the canvas to on both sides.
"""

from collections import Counter
from dataclasses import dataclass

from PIL import Image

#: Names of colours and of shapes.
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "cyan", "black", "white")
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
#: What a line of writing is in its picture; `label` also is the word beside a page's total.
ROLES = ("writing", "title", "total", "stamp", "label")

Point = tuple[float, float]
#: Left, top, right and bottom.
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled shape with its circumscribed radius, and its box once it is drawn."""

    kind: str
    colour: str
    x: float
    y: float
    radius: float
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Canvas:
    """The ground of every picture; `background` is None where no name of `COLOURS` fits."""

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

    def sorts(self) -> Counter[tuple[str, str]]:
        """Return how many shapes there are of each colour and kind."""
        return Counter((shape.colour, shape.kind) for shape in self.shapes)


@dataclass(frozen=True, slots=True)
class Line:
    """Up to ten characters; `kind` is `number`, `word` (of the list) or `letters` (at random)."""

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
    """Two to six bars that stand on `base`; one is the tallest, one the shortest."""

    bars: tuple[Bar, ...] = ()
    base: float = 1.0
    title: Line | None = None

    @property
    def lines(self) -> tuple[Line, ...]:
        """Everything that is written."""
        return tuple(filter(None, (*(bar.label for bar in self.bars), self.title)))

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
    """A ring or a frame, turned by radians."""

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
    """A line of text too small to read, which starts at `x`."""

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
        stamped = self.stamp.line if self.stamp else None
        return tuple(filter(None, (self.title, self.label, self.total, stamped)))


Picture = Scene | Writing | Chart | Page


@dataclass(frozen=True, slots=True)
class Glyph:
    """A drawn character in the picture's coordinates, and its index in its line."""

    letter: str
    x: float
    y: float
    index: int
    line: Line


@dataclass(frozen=True, slots=True)
class Drawing:
    """An RGB image, not padded, with what it shows and a polygon for each shape of a scene."""

    image: Image.Image
    picture: Picture
    outlines: tuple[tuple[Point, ...], ...] = ()
    glyphs: tuple[Glyph, ...] = ()

    @property
    def scene(self) -> Scene:
        """What a drawing of shapes shows."""
        assert isinstance(self.picture, Scene)
        return self.picture
