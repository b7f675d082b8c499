"""Which cells of an image are left out together, and what their falls say about each cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: A row and a column of the grid of image tokens.
Cell = tuple[int, int]

#: Side of the windows, and the distance between rows and columns of them, as shares of the grid's.
#: Chosen with `benchmarks.left_out` on drawn images.
_WINDOW, _STRIDE = 3 / 8, 1 / 8


def window_side(side: int) -> int:
    """Return the rows and columns of a window in a grid of `side` rows and columns."""
    return max(round(side * _WINDOW), 2 * _stride(side))  # less would leave cells without a window


def _stride(side: int) -> int:
    return math.ceil(side * _STRIDE)


def windows(side: int, cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
    """Return windows that slide over a grid, 50 at most; each holds some of `cells`.

    Every other one is left out, as the white squares of a chessboard. Those at an edge overhang it,
    so that cells at the edge are in as many windows as others.

    Args:
        side: Rows and columns of the grid.
        cells: The cells that hold a part of the image.
    """
    size, stride = window_side(side), _stride(side)
    inside = set(cells)
    begins = range(stride - size, side, stride)
    found: dict[tuple[Cell, ...], None] = {}
    for row, top in enumerate(begins):
        for left in begins[row % 2 :: 2]:
            window = tuple(
                (row, column)
                for row in range(top, top + size)
                for column in range(left, left + size)
                if (row, column) in inside
            )
            if window:
                found[window] = None
    return list(found)


def cell_values(
    side: int, blocks: Sequence[Sequence[Cell]], falls: Sequence[float]
) -> tuple[tuple[float, ...], ...]:
    """Return for each cell the square of the mean square root of its windows' falls, in nats.

    So a cell counts little if some windows with it have low falls, as beside an object. Falls below
    0 count as 0; a cell in no window has 0.

    Args:
        side: Rows and columns of the grid.
        blocks: The windows.
        falls: What the log-probability falls by without each, in nats.
    """
    sums = [[0.0] * side for _ in range(side)]
    counts = [[0] * side for _ in range(side)]
    for block, fall in zip(blocks, falls, strict=True):
        for row, column in block:
            sums[row][column] += math.sqrt(max(0.0, fall))
            counts[row][column] += 1
    return tuple(
        tuple((total / max(1, count)) ** 2 for total, count in zip(*rows, strict=True))
        for rows in zip(sums, counts, strict=True)
    )
