from __future__ import annotations

import pytest

from llava_tools.evidence.blocks import cell_values, window_side, windows


def _all(side: int) -> list[tuple[int, int]]:
    return [(row, column) for row in range(side) for column in range(side)]


@pytest.mark.parametrize("side", [*range(1, 20), 24, 27, 32])
def test_windows_are_few_and_hold_every_cell(side: int) -> None:
    found = windows(side, _all(side))
    assert 1 <= len(found) <= 50
    assert len(set(found)) == len(found)
    assert {cell for window in found for cell in window} == set(_all(side))
    assert max(map(len, found)) <= window_side(side) ** 2


@pytest.mark.parametrize("side", [8, 24])
def test_every_cell_is_in_about_as_many_windows(side: int) -> None:
    found = windows(side, _all(side))
    counts = {sum(cell in window for window in found) for cell in _all(side)}
    assert counts <= {4, 5}


def test_windows_of_a_wide_image_hold_no_padding() -> None:
    band = [(row, column) for row in (11, 12) for column in range(24)]
    found = windows(24, band)
    assert {cell for window in found for cell in window} == set(band)
    assert len(set(found)) == len(found)
    assert windows(24, [(11, 5)]) == [((11, 5),)]


def test_a_cell_has_less_than_the_mean_fall_of_its_windows() -> None:
    blocks = [((0, 0), (0, 1)), ((0, 1), (1, 1))]
    assert cell_values(2, blocks, [1.0, 9.0]) == ((1.0, 4.0), (0.0, 9.0))
    assert cell_values(2, blocks, [-1.0, 9.0]) == ((0.0, 2.25), (0.0, 9.0))


@pytest.mark.parametrize("side", [8, 24])
@pytest.mark.parametrize("place", [(0, 0), (0.5, 0.25), (0.95, 0.95), (0.3, 0.99)])
def test_the_highest_value_is_where_an_object_lies(side: int, place: tuple[float, float]) -> None:
    target = int(place[0] * side), int(place[1] * side)
    found = windows(side, _all(side))
    values = cell_values(side, found, [float(target in window) for window in found])
    assert values[target[0]][target[1]] == max(map(max, values)) == pytest.approx(1)
