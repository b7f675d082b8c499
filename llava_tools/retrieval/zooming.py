"""Small print: which parts of a page are looked at once more, each as a picture of its own.

The eye sees a page of any size as a square of 336 pixels, in which small print is lost. So a page
is asked whole first. Where the model was not sure of its answer, the page is asked again in squares
of half its longer side, which it sees at twice the size; the surest answer of all counts.
"""

from __future__ import annotations

import math

from llava_tools.images import ImageRef, open_image
from llava_tools.tools.geometry import Box

#: The longer side from which a part shows more than the whole did: twice what LLaVA's eye sees.
LARGE = 672
#: How much of a square the next one repeats at least, so that what one cuts the other shows whole.
OVERLAP = 0.15


def regions(size: tuple[int, int]) -> list[Box]:
    """Return overlapping squares that cover a picture, row by row; none for a small picture.

    Args:
        size: Width and height in pixels.
    """
    if max(size) < LARGE:
        return []
    width, height = size
    side = max(size) // 2
    return [
        Box(x, y, min(x + side, width), min(y + side, height))
        for y in _starts(height, side)
        for x in _starts(width, side)
    ]


def cut(page: ImageRef, box: Box) -> ImageRef:
    """Return a part of a page at its full resolution."""
    return open_image(page.rgb().crop(box))


def _starts(length: int, side: int) -> list[int]:
    """Where squares begin along one side, evenly spread."""
    if length <= side:
        return [0]
    shared = OVERLAP * side
    many = math.ceil((length - shared) / (side - shared))
    return [round(place * (length - side) / (many - 1)) for place in range(many)]
