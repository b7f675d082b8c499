from __future__ import annotations

import pytest

from llava_tools.core.image_grid import ImageGrid


def test_cells_of_a_padded_image_lie_around_its_centre() -> None:
    grid = ImageGrid(4, padded=True)
    assert grid.tokens == 16
    assert grid.box(0, 0, (400, 200)) is None  # 100 rows of padding above and below
    assert grid.box(1, 0, (400, 200)) == (0, 0, 100, 100)
    assert grid.box(2, 3, (400, 200)) == (300, 100, 400, 200)
    assert grid.box(1, 1, (200, 400)) == (0, 100, 100, 200)
    assert grid.box(0, 3, (200, 400)) is None


def test_a_cell_that_holds_some_padding_ends_at_the_images_edge() -> None:
    grid = ImageGrid(4, padded=True)
    assert grid.box(0, 0, (400, 300)) == (0, 0, 100, 50)
    assert grid.box(3, 0, (400, 300)) == (0, 250, 100, 300)


def test_cells_of_a_squashed_image_divide_it_evenly() -> None:
    grid = ImageGrid(4, padded=False)
    assert grid.box(0, 0, (400, 200)) == (0, 0, 100, 50)
    assert grid.box(3, 3, (400, 200)) == (300, 150, 400, 200)


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000), (7, 5)])
@pytest.mark.parametrize("padded", [True, False])
def test_the_cells_of_an_image_cover_it_without_overlap(
    size: tuple[int, int], padded: bool
) -> None:
    grid = ImageGrid(24, padded)
    boxes = [grid.box(row, column, size) for row in range(24) for column in range(24)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in boxes if box is not None]
    assert sum(areas) == pytest.approx(size[0] * size[1])


@pytest.mark.parametrize(("offset", "first"), [(0, 0), (1, 1), (-1, None)])
def test_tokens_before_the_patches_shift_positions(offset: int, first: int | None) -> None:
    grid = ImageGrid(3, padded=True, offset=offset)
    assert grid.token(0, 0) == first
    assert grid.token(2, 2) == grid.tokens - 1
