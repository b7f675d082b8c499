"""The drawing of an evidence map: bounds, geometry, and colours that everybody can read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from PIL import Image

from llava_tools import open_image
from llava_tools.evidence.overlay import MAX_SIDE, MIN_SIDE, draw_overlay
from llava_tools.images import ImageRef
from tests.evidence.scripted import grey_level

Colour = tuple[int, int, int]

#: What people without red, green or blue cones see of linear RGB (Machado, Oliveira and Fernandes
#: 2009, severity 1).
BLINDNESS = {
    "none": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
#: Values of the cells of a strip, from none to the highest.
RAMP = [0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 1.0]


def _image(colour: str | Colour = "navy", size: tuple[int, int] = (400, 400)) -> ImageRef:
    return open_image(Image.new("RGB", size, colour))


def _lightness(colour: Colour, seen: tuple[tuple[float, ...], ...]) -> float:
    """Return the lightness (L* of CIELAB, 0 to 100) of a colour as somebody sees it."""
    linear = [
        (level / 255 / 12.92) if level / 255 <= 0.04045 else ((level / 255 + 0.055) / 1.055) ** 2.4
        for level in colour
    ]
    red, green, blue = (
        sum(weight * part for weight, part in zip(row, linear, strict=True)) for row in seen
    )
    luminance = max(0.0, 0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def _ramp_colours(colour: str | Colour) -> list[Colour]:
    """Return the colours of `RAMP` over a flat image, in the middle of its cells."""
    cells = [((100 * i, 0, 100 * i + 100, 100), value) for i, value in enumerate(RAMP)]
    image = _image(colour, (100 * len(RAMP), 100))
    drawn = draw_overlay(image, cells, noise=0.02, frame=None)
    return [drawn.getpixel((100 * i + 50, 50)) for i in range(len(RAMP))]


@pytest.mark.parametrize("seen", BLINDNESS.values(), ids=BLINDNESS)
@pytest.mark.parametrize("colour", ["black", "grey", "white", "red", "lime", "blue", "yellow"])
def test_more_is_lighter_on_every_image_and_for_everybody(
    colour: str, seen: tuple[tuple[float, ...], ...]
) -> None:
    lightness = [_lightness(drawn, seen) for drawn in _ramp_colours(colour)]
    assert lightness == sorted(lightness)
    steps = [high - low for low, high in pairwise(lightness[1:])]
    assert min(steps) > 2.3  # a just noticeable difference


@pytest.mark.parametrize("colour", ["black", "white", "red"])
def test_more_is_lighter_in_greyscale(colour: str) -> None:
    swatches = [Image.new("RGB", (1, 1), drawn) for drawn in _ramp_colours(colour)]
    levels = [grey_level(swatch, (0, 0)) for swatch in swatches]
    assert levels == sorted(levels)
    assert levels[-1] - levels[0] > 100


def test_cells_up_to_the_noise_show_the_image() -> None:
    colour: Colour = (200, 100, 50)
    cells = [((0, 0, 200, 400), 0.3), ((200, 0, 400, 400), 1.0)]
    drawn = draw_overlay(_image(colour), cells, noise=0.3, frame=None)
    assert drawn.getpixel((50, 200)) == (80, 40, 20)
    assert drawn.getpixel((350, 200)) != (80, 40, 20)


def test_without_any_cell_above_the_noise_there_is_no_heat() -> None:
    cells = [((0, 0, 400, 400), 0.3), ((0, 0, 9, 9), -2.0)]
    drawn = draw_overlay(_image("white"), cells, noise=0.3, frame=None)
    assert drawn.getextrema() == ((102, 102),) * 3


def test_cells_beyond_the_image_are_cut_off_and_empty_ones_left_out() -> None:
    cells = [((-100, -100, 100, 100), 1.0), ((400, 0, 500, 100), 1.0), ((5, 5, 5, 9), 1.0)]
    drawn = draw_overlay(_image("white"), cells, noise=0.0, frame=None)
    assert drawn.size == (400, 400)
    assert drawn.getpixel((20, 20)) != drawn.getpixel((380, 380)) == (102, 102, 102)


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((3000, 1000), (MAX_SIDE, 267)),
        ((1000, 9000), (89, MAX_SIDE)),
        ((400, 300), (400, 300)),
        ((100, 80), (400, 320)),
        ((1, 1), (MIN_SIDE, MIN_SIDE)),
        ((5000, 1), (MAX_SIDE, 1)),
    ],
)
def test_large_images_are_bounded_and_small_ones_enlarged(
    size: tuple[int, int], drawn: tuple[int, int]
) -> None:
    frame = (0, 0, *size)
    overlay = draw_overlay(_image(size=size), [(frame, 1.0)], noise=0.0, frame=frame)
    assert (overlay.mode, overlay.size) == ("RGB", drawn)


def test_max_side_bounds_also_what_is_enlarged() -> None:
    drawn = draw_overlay(_image(size=(100, 50)), [], noise=0.0, frame=None, max_side=250)
    assert drawn.size == (200, 100)


@pytest.mark.parametrize("colour", ["black", "white", "grey"])
def test_the_frame_contrasts_with_every_image(colour: str) -> None:
    drawn = draw_overlay(_image(colour), [], noise=0.0, frame=(100, 120, 300, 320))
    line = [drawn.getpixel((x, 200)) for x in range(98, 110)]
    assert {(0, 0, 0), (255, 255, 255)} <= set(line)
    assert line[0] == drawn.getpixel((5, 5))  # the frame lies within its box
    assert drawn.getpixel((200, 120)) == (0, 0, 0) == drawn.getpixel((299, 200))
