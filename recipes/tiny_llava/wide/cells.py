"""The patch grid: which cells a place lies in, and how much of each cell a stretch covers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

GRID = 8
"""Patches along each side of the padded square."""
SOFT = 1.0 / 7
"""Half-width, in patches, of the band in which a place belongs to two neighbours: 2 px of 14."""


def near(place: float, soft: float, count: int) -> list[tuple[int, float]]:
    """Which one or two of ``count`` cells a place lies in, with shares that sum to one."""
    cell = min(max(int(place), 0), count - 1)
    for border, other in ((cell, cell - 1), (cell + 1, cell + 1)):
        apart = abs(place - border)
        if apart < soft and 0 <= other < count:
            share = 0.5 - 0.5 * apart / soft
            return [(cell, 1 - share), (other, share)]
    return [(cell, 1.0)]


def covered(low: float, high: float) -> Floats:
    """How much of each of the eight rows or columns lies between two places in 0–1."""
    cells = np.arange(GRID)
    shared = np.minimum(high * GRID, cells + 1) - np.maximum(low * GRID, cells)
    share: Floats = np.clip(shared, 0, 1).astype(np.float32)
    return share


def soft_cells(place: float) -> Floats:
    """A place in 0–1 as weights over the eight rows or columns."""
    weights = np.zeros(GRID, np.float32)
    for cell, share in near(place * GRID, SOFT, GRID):
        weights[cell] = share
    return weights


def outer(down: Floats, across: Floats) -> Floats:
    """Weights over rows times weights over columns, patch by patch: (64,) float32."""
    whole: Floats = np.outer(down, across).reshape(GRID * GRID)
    return whole
