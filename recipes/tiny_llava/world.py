"""The drawn world: what a picture holds, before anybody draws it.

A seeded generator goes in, a :class:`Scene` comes out: a canvas, the name of its background and
a few :class:`Shape` s that do not touch. The scene is the ground truth: renderers draw it,
:mod:`~recipes.tiny_llava.questions` asks about it, and :mod:`~recipes.tiny_llava.patches` turns it
into what each image patch should say. Words, bars, pages and boxes are not covered yet: each
would be a further field of ``Scene``.

Coordinates are fractions of the canvas's longer side, x to the right and y downwards, so that a
canvas of width 1 and height 0.5 is a wide picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

COLOURS = (
    "red",
    "green",
    "blue",
    "yellow",
    "orange",
    "purple",
    "pink",
    "cyan",
    "black",
    "white",
)
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")

SMALLEST_RADIUS = 0.045
"""Half of the smallest shape, as a fraction of the longer side: five pixels of 112."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One filled shape: its kind, its colour's name, its centre and its circumscribed radius.

    ``box`` (left, top, right, bottom in the scene's coordinates) is known once it is drawn.
    """

    kind: str
    colour: str
    x: float
    y: float
    radius: float
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """A canvas of ``width`` × ``height`` (the longer is 1) and the shapes on it.

    ``background`` is one of ``COLOURS``, or ``None`` where no colour's name fits it (greys,
    pastels, strong noise): then nobody asks about it.
    """

    shapes: tuple[Shape, ...]
    background: str | None
    width: float = 1.0
    height: float = 1.0

    def count(self, colour: str | None = None, kind: str | None = None) -> int:
        """How many shapes have this colour and this kind; ``None`` stands for any."""
        return sum(
            (colour is None or shape.colour == colour) and (kind is None or shape.kind == kind)
            for shape in self.shapes
        )

    def padded(self, shape: Shape) -> tuple[float, float]:
        """The shape's centre on the square that the canvas is padded to, both in 0–1."""
        return shape.x + (1.0 - self.width) / 2, shape.y + (1.0 - self.height) / 2


def sample_scene(rng: np.random.Generator, crowded: float = 0.0, white: bool = False) -> Scene:
    """A random scene: mostly 1–5 shapes; with probability ``crowded`` a grid full of them.

    ``white`` asks for a white background.
    """
    width, height = sample_canvas(rng)
    background = sample_background(rng)
    if white:
        background = "white"
    if rng.random() < crowded:
        places = _grid(rng, width, height, None)
    else:
        count = int(rng.choice(7, p=(0.01, 0.22, 0.19, 0.19, 0.18, 0.18, 0.03)))
        places = _layout(rng, count, width, height)
    names = _names(rng, len(places), background)
    shapes = tuple(
        Shape(kind, colour, x, y, radius)
        for (kind, colour), (x, y, radius) in zip(names, places, strict=True)
    )
    return Scene(shapes, background, width, height)


def sample_background(rng: np.random.Generator) -> str | None:
    """A colour's name, white and black more often than others, or ``None`` for what has none."""
    background = COLOURS[rng.integers(10)] if rng.random() < 0.72 else None
    if background is not None and rng.random() < 0.35:
        return ("white", "black")[int(rng.random() < 0.35)]
    return background


def sample_canvas(rng: np.random.Generator) -> tuple[float, float]:
    """Width and height of a canvas whose longer side is 1; mostly a square."""
    if rng.random() < 0.72:
        return 1.0, 1.0
    short = float(rng.uniform(0.5, 0.95))
    return (1.0, short) if rng.random() < 0.6 else (short, 1.0)


def _names(rng: np.random.Generator, count: int, background: str | None) -> list[tuple[str, str]]:
    """Kinds and colours; often from a small palette, so that subsets are worth counting."""
    colours = [colour for colour in COLOURS if colour != background]
    kinds = list(SHAPES)
    if rng.random() < 0.5:
        colours = list(rng.choice(colours, size=int(rng.integers(1, 4)), replace=False))
    if rng.random() < 0.5:
        kinds = list(rng.choice(kinds, size=int(rng.integers(1, 4)), replace=False))
    pick = rng.integers
    return [(str(kinds[pick(len(kinds))]), str(colours[pick(len(colours))])) for _ in range(count)]


Place = tuple[float, float, float]


def _layout(rng: np.random.Generator, count: int, width: float, height: float) -> list[Place]:
    """Centres and radii of ``count`` shapes: free, on a grid, in a line, or one big one."""
    style = rng.random()
    if count == 1 and style < 0.6:
        return [_single(rng, width, height)]
    if style < 0.2:
        return _grid(rng, width, height, count)
    if style < 0.32 and count > 1:
        return _line(rng, count, width, height)
    return _free(rng, count, width, height)


def _single(rng: np.random.Generator, width: float, height: float) -> Place:
    half = min(width, height) / 2
    radius = float(rng.uniform(0.35, 0.96)) * half
    slack = (half - radius) * float(rng.choice((0.0, 0.0, 1.0)))
    x = width / 2 + float(rng.uniform(-slack, slack))
    y = height / 2 + float(rng.uniform(-slack, slack))
    return x, y, radius


def _free(rng: np.random.Generator, count: int, width: float, height: float) -> list[Place]:
    """Rejection sampling; sizes shrink a little at every failure, so that it always ends."""
    low, high = _sizes(rng, count)
    high = min(high, min(width, height) * 0.45)
    low = min(low, high)
    gap = float(rng.uniform(0.01, 0.06))
    places: list[Place] = []
    tries = 0
    while len(places) < count:
        tries += 1
        shrink = max(0.0, 1.0 - tries / 60)
        radius = SMALLEST_RADIUS + shrink * (float(rng.uniform(low, high)) - SMALLEST_RADIUS)
        radius = max(radius, SMALLEST_RADIUS)
        x = float(rng.uniform(radius, width - radius))
        y = float(rng.uniform(radius, height - radius))
        if all(math.hypot(x - a, y - b) > radius + r + gap for a, b, r in places):
            places.append((x, y, radius))
        elif tries > 200:
            places, tries = [], 0
    return places


def _sizes(rng: np.random.Generator, count: int) -> tuple[float, float]:
    middle = float(rng.uniform(0.06, 0.34 / math.sqrt(max(count, 1)) + 0.02))
    spread = float(rng.choice((1.05, 1.4, 2.0)))
    return max(SMALLEST_RADIUS, middle / spread), max(SMALLEST_RADIUS + 0.005, middle * spread)


def _grid(rng: np.random.Generator, width: float, height: float, count: int | None) -> list[Place]:
    """Cells of a grid, each with one shape; every cell (or nearly) when ``count`` is ``None``."""
    if count is None:
        columns, rows = (int(n) for n in rng.integers(2, 6, size=2))
        rows = max(2, min(rows, round(columns * height / width) + 1))
        columns = max(2, min(columns, round(rows * width / height) + 1))
        count = columns * rows - int(rng.integers(0, 3))
    else:
        least = 2 if count <= 4 else 3
        columns, rows = (int(n) for n in rng.integers(least, 5, size=2))
    cell_width, cell_height = width / columns, height / rows
    half = min(cell_width, cell_height) / 2
    chosen = rng.choice(columns * rows, size=min(count, columns * rows), replace=False)
    same = float(rng.uniform(0.5, 0.95)) if rng.random() < 0.5 else None
    places = []
    for cell in chosen:
        share = same if same is not None else float(rng.uniform(0.5, 0.97))
        radius = max(SMALLEST_RADIUS, half * share)
        slack = max(0.0, half * 0.99 - radius) * float(rng.random() < 0.7)
        x = (cell % columns + 0.5) * cell_width + float(rng.uniform(-slack, slack))
        y = (cell // columns + 0.5) * cell_height + float(rng.uniform(-slack, slack))
        places.append((float(x), float(y), float(radius)))
    return places


def _line(rng: np.random.Generator, count: int, width: float, height: float) -> list[Place]:
    """Evenly spaced along a row (or a column where the canvas is tall)."""
    along, across = (width, height) if width >= height else (height, width)
    upright = width < height or (width == height and rng.random() < 0.35)
    step = along / count
    radius = max(SMALLEST_RADIUS, min(step, across) / 2 * float(rng.uniform(0.5, 0.95)))
    room = across / 2 - radius
    offset = across / 2 + float(rng.uniform(-room, room)) * float(rng.random() < 0.5)
    spots = [((i + 0.5) * step, offset) for i in range(count)]
    return [(b, a, radius) if upright else (a, b, radius) for a, b in spots]
