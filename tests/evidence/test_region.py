"""The region around the peak of an evidence map."""

from __future__ import annotations

import pytest

from llava_tools.evidence.region import peak_region


def _region(*rows: str) -> set[tuple[int, int]]:
    """Return the region of digits; a dot is no cell."""
    values = {
        (row, column): float(digit)
        for row, line in enumerate(rows)
        for column, digit in enumerate(line)
        if digit != "."
    }
    return set(peak_region(values))


@pytest.mark.parametrize(
    ("rows", "region"),
    [
        (["000", "090", "000"], {(1, 1)}),
        (["044", "596", "055"], {(1, 0), (1, 1), (1, 2), (2, 1), (2, 2)}),
        (["905", "000", "005"], {(0, 0)}),
        (["95", "59"], {(0, 0), (0, 1), (1, 0), (1, 1)}),
        (["9.9"], {(0, 0)}),
        (["50", "09"], {(1, 1)}),
    ],
    ids=["alone", "neighbours", "another part", "all", "a gap", "a corner"],
)
def test_the_region_is_what_hangs_together_with_the_peak(
    rows: list[str], region: set[tuple[int, int]]
) -> None:
    assert _region(*rows) == region
