"""Which cells of an image are left out together, and what their falls say about each cell."""

from __future__ import annotations

from collections.abc import Sequence

#: A row and a column of the grid of image tokens.
Cell = tuple[int, int]

#: Side of the windows, and the distance between two, for a grid of a given side: fractions of it.
_WINDOW, _STRIDE = 0.25, 0.125


def windows(side: int, cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
    """Return windows that slide over a grid; each holds some of `cells`.

    Args:
        side: Rows and columns of the grid.
        cells: The cells that hold a part of the image.
    """
    size, stride = max(1, round(side * _WINDOW)), max(1, round(side * _STRIDE))
    inside = set(cells)
    begins = range(stride - size, side, stride)
    found: dict[tuple[Cell, ...], None] = {}
    for top in begins:
        for left in begins:
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
    """Return for each cell the mean fall of the windows that hold it; 0 if none does."""
    sums = [[0.0] * side for _ in range(side)]
    counts = [[0] * side for _ in range(side)]
    for block, fall in zip(blocks, falls, strict=True):
        for row, column in block:
            sums[row][column] += fall
            counts[row][column] += 1
    return tuple(
        tuple(total / max(1, count) for total, count in zip(*rows, strict=True))
        for rows in zip(sums, counts, strict=True)
    )
