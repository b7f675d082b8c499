"""What a training leaves to look at: a sheet of answers and a plot of losses."""

from pathlib import Path

import pytest
from PIL import Image, ImageColor

from llava_tools.finetune.loss_plot import plot_losses, running_mean
from recipes.tiny_llava.items import Item
from recipes.tiny_llava.sheet import CELL, COLUMNS, sheet

GREEN, RED = ImageColor.getrgb("#1a7f37"), ImageColor.getrgb("#c62828")


def items(count: int) -> list[Item]:
    picture = Image.new("RGB", (112, 112), "white")
    return [Item("colour", "What colour is the star?", "red", picture) for _ in range(count)]


def frames(path: Path) -> list[tuple[int, ...]]:
    """The colours of the frames around the pictures, cell by cell, white for an empty cell."""
    image = Image.open(path)
    corners = [
        (left + 8, top + 6)
        for top in range(0, image.height, CELL[1])
        for left in range(0, image.width, CELL[0])
    ]
    pixels = [image.getpixel(corner) for corner in corners]
    return [pixel for pixel in pixels if isinstance(pixel, tuple)]


def test_right_answers_are_green_and_wrong_ones_red(tmp_path: Path) -> None:
    sheet(items(8), ["blue", *["red"] * 6, "no"], tmp_path / "s.png")
    white = (255, 255, 255)
    empty = 2 * COLUMNS - 8
    assert frames(tmp_path / "s.png") == [RED, RED, *[GREEN] * 6, *[white] * empty]


@pytest.mark.parametrize(("wrong", "shown"), [(0, 0), (100, 6), (3, 3)])
def test_half_of_a_full_sheet_is_wrong_at_most(tmp_path: Path, wrong: int, shown: int) -> None:
    said = ["blue"] * wrong + ["red"] * (100 - wrong)
    sheet(items(100), said, tmp_path / "s.png", most=12)
    told = frames(tmp_path / "s.png")
    assert told.count(RED) == shown
    assert told.count(GREEN) == min(12 - shown, 100 - wrong)


def test_each_stage_has_a_panel(tmp_path: Path) -> None:
    plot_losses({"eye": {25: 2.0, 50: 1.0}, "tune": {25: 1.0}}, tmp_path / "p.png")
    assert Image.open(tmp_path / "p.png").size == (800, 900)
    assert running_mean([4.0, 2.0, 0.0]) == [4.0, 2.0, 0.0]
    assert running_mean([1.0, 3.0] * 20)[-1] == 2.0
