"""Places of shapes on a canvas: circles that stay inside it and do not touch."""

from __future__ import annotations

import math

import numpy as np

#: Radius of the smallest shape: 5 pixels of 112.
SMALLEST = 0.045
#: Centre and radius of a shape.
Place = tuple[float, float, float]


def layout(rng: np.random.Generator, count: int, width: float, height: float) -> list[Place]:
    """Return `count` (0 to 6) places: anywhere, on a grid, in a line, or for one large shape."""
    style = rng.random()
    if count == 1 and style < 0.6:
        half = min(width, height) / 2
        radius = rng.uniform(0.35, 0.96) * half
        slack = (half - radius) * (rng.random() < 1 / 3)
        x, y = rng.uniform(-slack, slack, size=2)
        return [(width / 2 + float(x), height / 2 + float(y), radius)]
    if style < 0.2:
        columns, rows = (int(n) for n in rng.integers(2 if count <= 4 else 3, 5, size=2))
        return _grid(rng, count, columns, rows, width, height)
    if style < 0.32 and count > 1:
        return _row(rng, count, width, height)
    return _anywhere(rng, count, width, height)


def _anywhere(rng: np.random.Generator, count: int, width: float, height: float) -> list[Place]:
    """Return places by rejection sampling; radii shrink with each try, so that it ends."""
    middle = rng.uniform(0.06, 0.34 / math.sqrt(max(count, 1)) + 0.02)
    spread = float(rng.choice((1.05, 1.4, 2.0)))
    high = min(max(SMALLEST + 0.005, middle * spread), min(width, height) * 0.45)
    low = min(max(SMALLEST, middle / spread), high)
    gap = rng.uniform(0.01, 0.06)
    places: list[Place] = []
    tries = 0
    while len(places) < count:
        tries += 1
        radius = SMALLEST + max(0.0, 1 - tries / 60) * (rng.uniform(low, high) - SMALLEST)
        x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
        if all(math.hypot(x - a, y - b) > radius + r + gap for a, b, r in places):
            places.append((x, y, radius))
        elif tries > 200:
            places, tries = [], 0
    return places


def full_grid(rng: np.random.Generator, width: float, height: float) -> list[Place]:
    """Return places in all cells of a grid but 0 to 2."""
    columns, rows = (int(n) for n in rng.integers(2, 6, size=2))
    rows = max(2, min(rows, round(columns * height / width) + 1))
    columns = max(2, min(columns, round(rows * width / height) + 1))
    return _grid(rng, columns * rows - int(rng.integers(0, 3)), columns, rows, width, height)


def _grid(
    rng: np.random.Generator, count: int, columns: int, rows: int, width: float, height: float
) -> list[Place]:
    """Return places in random cells of a grid; half of the time, all radii are equal."""
    half = min(width / columns, height / rows) / 2
    same = rng.uniform(0.5, 0.95) if rng.random() < 0.5 else None
    places = []
    for cell in rng.choice(columns * rows, size=count, replace=False):
        row, column = divmod(int(cell), columns)
        radius = max(SMALLEST, half * (same or rng.uniform(0.5, 0.97)))
        slack = max(0.0, half * 0.99 - radius) * (rng.random() < 0.7)
        x = (column + 0.5) * width / columns + rng.uniform(-slack, slack)
        y = (row + 0.5) * height / rows + rng.uniform(-slack, slack)
        places.append((x, y, radius))
    return places


def _row(rng: np.random.Generator, count: int, width: float, height: float) -> list[Place]:
    """Return evenly spaced places in a row, or a column where the canvas is tall."""
    along, across = max(width, height), min(width, height)
    upright = width < height or (width == height and rng.random() < 0.35)
    radius = max(SMALLEST, min(along / count, across) / 2 * rng.uniform(0.5, 0.95))
    room = (across / 2 - radius) * (rng.random() < 0.5)
    offset = across / 2 + rng.uniform(-room, room)
    steps = [(i + 0.5) * along / count for i in range(count)]
    return [(offset, step, radius) if upright else (step, offset, radius) for step in steps]
