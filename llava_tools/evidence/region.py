"""The region of an evidence map that an answer depends on: the cells around the highest value."""

from __future__ import annotations

from collections.abc import Mapping

from llava_tools.evidence.blocks import Cell

#: A cell belongs to the region if it has this share of the highest value, or more.
SHARE = 0.5


def peak_region(values: Mapping[Cell, float]) -> frozenset[Cell]:
    """Return the cells that are connected, by their sides, with the one of the highest value.

    Args:
        values: The value of each cell; the highest is above 0.
    """
    peak = max(values, key=values.__getitem__)
    least = SHARE * values[peak]
    region, border = {peak}, [peak]
    while border:
        row, column = border.pop()
        for cell in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if cell not in region and cell in values and values[cell] >= least:
                region.add(cell)
                border.append(cell)
    return frozenset(region)
