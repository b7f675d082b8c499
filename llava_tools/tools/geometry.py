"""`Box`: a region of an image in pixels, and the way to it from LLaVA's coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A region in pixels of the image as shown: x to the right, y down, x2 and y2 exclusive."""

    x1: int
    y1: int
    x2: int
    y2: int


def unpad_box(corners: Sequence[float], size: tuple[int, int]) -> Box | None:
    """Convert LLaVA's box to pixels of the image; None if it has no area there.

    LLaVA sees an image in the middle of a square of its longer side. `corners` are x1, y1, x2, y2
    as fractions of that square, opposite corners in any order. `size` is (width, height) in pixels.
    """
    side = max(size)
    left, top = ((side - length) // 2 for length in size)
    x1, x2 = sorted(round(corner * side) - left for corner in corners[0::2])
    y1, y2 = sorted(round(corner * side) - top for corner in corners[1::2])
    return clip_box((x1, y1, x2, y2), size)


def clip_box(box: Sequence[int], size: tuple[int, int]) -> Box | None:
    """Return the part of a box that lies on an image of that size, or None if there is none."""
    width, height = size
    x1, y1, x2, y2 = box
    clipped = Box(max(x1, 0), max(y1, 0), min(x2, width), min(y2, height))
    return clipped if clipped.x1 < clipped.x2 and clipped.y1 < clipped.y2 else None
