"""Tests of what images show and of how they are drawn."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator
from PIL import Image

from recipes.tiny_llava import sample, strings
from recipes.tiny_llava.render import PADDING, draw, polygon, square
from recipes.tiny_llava.things import COLOURS, SHAPES, Chart, Picture, Scene, Shape
from recipes.tiny_llava.tones import anchors, nearest_name, sample_tone

WIDE = (sample.sample_writing, sample.sample_crowd, sample.sample_chart, sample.sample_page)


@pytest.fixture(params=range(20))
def rng(request: pytest.FixtureRequest) -> Generator:
    return np.random.default_rng(request.param)


@pytest.mark.parametrize("crowded", [0.0, 1.0])
def test_shapes_stay_inside_and_do_not_touch(rng: Generator, crowded: float) -> None:
    scene = sample.sample_scene(rng, crowded)
    for i, one in enumerate(scene.shapes):
        assert one.radius - 1e-9 <= one.x <= scene.width - one.radius + 1e-9
        assert one.radius - 1e-9 <= one.y <= scene.height - one.radius + 1e-9
        for other in scene.shapes[:i]:
            apart = math.hypot(one.x - other.x, one.y - other.y)
            assert apart >= one.radius + other.radius - 1e-9
    drawing = draw(scene, rng)
    assert isinstance(drawing.picture, Scene)
    assert all(shape.box is not None for shape in drawing.picture.shapes)
    assert len(drawing.outlines) == len(scene.shapes)


@pytest.mark.parametrize("sampler", [*WIDE, sample.sample_scene])
def test_drawing_knows_its_glyphs(rng: Generator, sampler: Callable[..., Picture]) -> None:
    picture = sampler(rng)
    drawing = draw(picture, rng)
    width, height = drawing.image.size
    assert width / height == pytest.approx(picture.width / picture.height, rel=0.05)
    lines = () if isinstance(picture, Scene) else picture.lines
    assert sorted(g.letter for g in drawing.glyphs) == sorted("".join(n.text for n in lines))
    for glyph in drawing.glyphs:
        assert 0 < glyph.x < picture.width
        assert 0 < glyph.y < picture.height
        assert glyph.line.text[glyph.index] == glyph.letter
    if isinstance(picture, Chart):
        heights = sorted(bar.height for bar in picture.bars)
        assert min(heights[1] - heights[0], heights[-1] - heights[-2]) > 0.02


@pytest.mark.parametrize("colour", COLOURS)
def test_tone_keeps_its_name_alone_and_in_a_plain_shape(rng: Generator, colour: str) -> None:
    assert nearest_name(sample_tone(rng, colour, 0.0)) == colour
    assert sample_tone(rng, colour, 1.0) in anchors()[colour]
    shape = Shape(str(rng.choice(SHAPES)), colour, 0.4, 0.5, 0.3)
    scene = Scene("white" if colour != "white" else "black", shapes=(shape,))
    image = draw(scene, rng, plain=True).image
    assert nearest_name(image.getpixel((int(0.4 * image.width), image.height // 2))) == colour


def test_polygon_lies_in_its_circle_and_square_pads_centrally() -> None:
    for points in (polygon(kind, 0.5, 0.4, 0.2, turn=0.3) for kind in SHAPES):
        assert max(math.hypot(x - 0.5, y - 0.4) for x, y in points) == pytest.approx(0.2)
    squared = square(Image.new("RGB", (200, 100), (255, 0, 0)), 100)
    assert squared.size == (100, 100)
    assert squared.getpixel((50, 10)) == squared.getpixel((50, 90)) == PADDING
    assert squared.getpixel((50, 30)) == squared.getpixel((50, 70)) == (255, 0, 0)


def test_held_back_letters_are_never_trained(rng: Generator) -> None:
    assert not strings.held_back(strings.letters(rng))
    assert strings.held_back(strings.letters(rng, fresh=True).upper())
    assert 1 <= len(strings.amount(rng)) <= 7
