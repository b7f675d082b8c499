"""Arithmetic of scores, with the roundings of the official programs."""

from __future__ import annotations

from collections.abc import Iterable


def add_in_order(values: Iterable[float]) -> float:
    """Return the sum, rounded after each step: `sum` rounds once at the end from Python 3.12 on."""
    total = 0.0
    for value in values:
        total += value
    return total


def ratio(part: float, whole: float) -> float:
    """Return a fraction; 0 if there is nothing to divide by, where official programs fail."""
    return part / whole if whole else 0.0
