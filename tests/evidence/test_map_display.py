"""What is shown of an evidence map: its drawing, its region, and its text."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from llava_tools import open_image
from llava_tools.core.image_grid import ImageGrid
from llava_tools.evidence import EvidenceMap
from tests.evidence.scripted import grey_level, measure_square


def _map(
    rows: list[list[float]], size: tuple[int, int] = (200, 200), *, padded: bool = True
) -> EvidenceMap:
    image = open_image(Image.new("RGB", size, "navy"))
    values = tuple(map(tuple, rows))
    return EvidenceMap("red", -0.2, values, image, ImageGrid(len(rows), padded=padded))


def test_the_region_of_a_measured_answer_is_the_part_that_it_depends_on() -> None:
    found = measure_square()
    assert found.region is not None
    left, top, right, bottom = found.region
    assert (left + right, top + bottom) == pytest.approx((180, 180), abs=60)
    assert 30 <= right - left <= 120
    assert 30 <= bottom - top <= 120
    box = list(found.region)
    assert str(found) == f"'yellow' depends on the box {box} of 240 x 240 pixels"


@pytest.mark.parametrize(
    ("size", "padded", "region"),
    [
        ((200, 200), True, (100, 0, 200, 100)),
        ((200, 100), True, (100, 0, 200, 50)),
        ((100, 200), True, (50, 0, 100, 100)),
        ((101, 51), True, (50, 0, 101, 26)),
        ((200, 100), False, (100, 0, 200, 50)),
    ],
    ids=["square", "wide", "tall", "odd", "squashed"],
)
def test_the_region_is_in_pixels_of_the_image(
    size: tuple[int, int], padded: bool, region: tuple[int, ...]
) -> None:
    assert _map([[0, 1], [0, 0.2]], size, padded=padded).region == region


def test_padding_is_in_no_region() -> None:
    rows = [[9, 9, 9, 9], [0, 0, 1, 0], [0, 0, 0, 0], [9, 9, 9, 9]]
    assert _map(rows, (200, 100)).region == (100, 0, 150, 50)


@pytest.mark.parametrize("fall", [0.0, -3.0, 0.05])
def test_an_answer_that_depends_on_nothing_has_no_region_and_no_heat(fall: float) -> None:
    found = _map([[fall, fall], [fall, 0]])
    assert found.region is None
    assert str(found) == "'red' depends on no single part of the image"
    assert found.draw().getextrema() == ((0, 0), (0, 0), (51, 51))


def test_weak_cells_are_noise_beside_a_strong_one() -> None:
    assert _map([[0.02, 0], [0, 0]]).noise == 0.05
    assert _map([[4, 0.3], [0, 0]]).noise == pytest.approx(0.4)


def test_a_drawing_is_brightest_in_the_region() -> None:
    drawn = _map([[0.1, 2], [0.1, 0.1]]).draw()
    assert drawn.size == (400, 400)
    assert grey_level(drawn, (300, 100)) > 200 > 60 > grey_level(drawn, (100, 300))


def test_a_notebook_shows_the_drawing() -> None:
    found = _map([[0, 2], [0, 0]], (2000, 1000))
    shown = Image.open(io.BytesIO(found._repr_png_()))
    assert shown.size == (800, 400)
    assert shown.tobytes() == found.draw().tobytes()


def test_repr_is_short() -> None:
    assert len(repr(_map([[0.0] * 24] * 24))) < 250
