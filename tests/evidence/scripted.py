"""A scripted answer that depends on a part of a square image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from llava_tools.core.requests import Request

#: Columns and rows of the grid in `ScriptedBackend`.
SIDE = 24
#: An image whose cells have 10 pixels a side.
SQUARE = Image.new("RGB", (10 * SIDE, 10 * SIDE), "navy")
#: The region of the answer in `SQUARE`: the cells that `depends_on_square` knows.
DEPENDENT = (60, 60, 120, 120)


def depends_on_square(request: Request, label: str, left_out: Sequence[int]) -> float:
    """Return a log-probability that falls by 0.05 for each cell in rows and columns 6 to 11."""
    square = range(6, 12)
    cells = [divmod(position % SIDE**2, SIDE) for position in left_out]
    return -0.1 - 0.05 * sum(row in square and column in square for row, column in cells)


def grey_level(drawing: Image.Image, place: tuple[int, int]) -> int:
    """Return the brightness of a pixel, 0 to 255."""
    level: Any = drawing.convert("L").getpixel(place)
    return int(level)
