"""A scripted answer that depends on a part of a square image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from llava_tools import Llava
from llava_tools.core.requests import Request
from llava_tools.evidence import EvidenceMap
from llava_tools.testing import ScriptedBackend

#: Columns and rows of the grid in `ScriptedBackend`.
SIDE = 24
#: An image whose cells have 10 pixels a side.
SQUARE = Image.new("RGB", (10 * SIDE, 10 * SIDE), "navy")


def depends_on_square(request: Request, label: str, left_out: Sequence[int]) -> float:
    """Return a log-probability that falls by 0.05 for each cell in rows and columns 6 to 11."""
    square = range(6, 12)
    cells = [divmod(position % SIDE**2, SIDE) for position in left_out]
    return -0.1 - 0.05 * sum(row in square and column in square for row, column in cells)


def measure_square(answer: str = "yellow") -> EvidenceMap:
    """Return the map of an answer in `SQUARE`, which every surface shows."""
    backend = ScriptedBackend([answer], scores_without=depends_on_square)
    return Llava(backend=backend).evidence("What colour?", SQUARE)


#: The region that an answer in `SQUARE` depends on: x1, y1, x2, y2.
DEPENDENT = measure_square().region or (0, 0, 0, 0)


def grey_level(drawing: Image.Image, place: tuple[int, int]) -> int:
    """Return the brightness of a pixel, 0 to 255."""
    level: Any = drawing.convert("L").getpixel(place)
    return int(level)
