"""Tests of what images show and of how they are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recipes.tiny import sample as sampling
from recipes.tiny.render import PADDING, draw, polygon, square
from recipes.tiny.strings import amount, held_back, letters
from recipes.tiny.things import COLOURS, SHAPES, Chart, Page, Scene, Shape, Writing
from recipes.tiny.tones import anchors, nearest_name, sample_tone

FEW = settings(max_examples=50, deadline=None)
SEEDS = st.integers(0, 2**32 - 1).map(np.random.default_rng)
Sampler = Callable[[np.random.Generator], Writing | Chart | Page]
WIDE = (sampling.sample_writing, sampling.sample_crowd, sampling.sample_chart, sampling.sample_page)


@given(SEEDS, st.sampled_from((0.0, 1.0)))
@FEW
def test_shapes_stay_inside_and_do_not_touch(rng: np.random.Generator, crowded: float) -> None:
    scene = sampling.sample_scene(rng, crowded)
    for i, shape in enumerate(scene.shapes):
        assert shape.radius - 1e-9 <= shape.x <= scene.width - shape.radius + 1e-9
        assert shape.radius - 1e-9 <= shape.y <= scene.height - shape.radius + 1e-9
        for other in scene.shapes[:i]:
            apart = math.hypot(shape.x - other.x, shape.y - other.y)
            assert apart >= shape.radius + other.radius - 1e-9


@pytest.mark.parametrize("sampler", WIDE)
@given(rng=SEEDS)
@FEW
def test_glyphs_lie_inside_the_image(sampler: Sampler, rng: np.random.Generator) -> None:
    picture = sampler(rng)
    glyphs = draw(picture, rng).glyphs
    assert sorted(g.letter for g in glyphs) == sorted("".join(n.text for n in picture.lines))
    for glyph in glyphs:
        assert 0 < glyph.x < picture.width
        assert 0 < glyph.y < picture.height
        assert glyph.line.text[glyph.index] == glyph.letter


@given(SEEDS)
@FEW
def test_tallest_and_shortest_bar_differ_from_all_others(rng: np.random.Generator) -> None:
    chart = sampling.sample_chart(rng)
    heights = sorted(bar.height for bar in chart.bars)
    assert min(heights[1] - heights[0], heights[-1] - heights[-2]) > 0.02


@given(SEEDS, st.sampled_from(COLOURS))
@FEW
def test_sampled_tone_keeps_its_name(rng: np.random.Generator, colour: str) -> None:
    assert nearest_name(sample_tone(rng, colour, 0.0)) == colour
    assert sample_tone(rng, colour, 1.0) in anchors()[colour]
    assert all(0 <= value <= 255 for value in sample_tone(rng, None))


@given(SEEDS, st.sampled_from([(colour, kind) for colour in COLOURS for kind in SHAPES]))
@FEW
def test_plain_shape_shows_its_colour(rng: np.random.Generator, names: tuple[str, str]) -> None:
    colour, kind = names
    background = "white" if colour != "white" else "black"
    scene = Scene(background, shapes=(Shape(kind, colour, 0.4, 0.5, 0.3),))
    pixels = np.asarray(draw(scene, rng, plain=True).image)
    red, green, blue = pixels[pixels.shape[0] // 2, int(0.4 * pixels.shape[1])].tolist()
    assert nearest_name((red, green, blue)) == colour


@given(SEEDS)
@FEW
def test_drawing_keeps_proportions_and_knows_boxes(rng: np.random.Generator) -> None:
    picture = sampling.sample(rng, wide=0.3)
    drawing = draw(picture, rng)
    width, height = drawing.image.size
    assert width / height == pytest.approx(picture.width / picture.height, rel=0.05)
    if isinstance(picture, Scene):
        assert isinstance(drawing.picture, Scene)
        assert all(shape.box is not None for shape in drawing.picture.shapes)
        assert len(drawing.outlines) == len(picture.shapes)


@pytest.mark.parametrize("kind", SHAPES)
def test_polygon_lies_in_its_circle(kind: str) -> None:
    points = polygon(kind, 0.5, 0.4, 0.2, turn=0.3)
    assert max(math.hypot(x - 0.5, y - 0.4) for x, y in points) == pytest.approx(0.2)


def test_square_pads_centrally() -> None:
    squared = square(Image.new("RGB", (200, 100), (255, 0, 0)), 100)
    assert squared.size == (100, 100)
    assert squared.getpixel((50, 10)) == squared.getpixel((50, 90)) == PADDING
    assert squared.getpixel((50, 30)) == squared.getpixel((50, 70)) == (255, 0, 0)


@given(SEEDS)
@FEW
def test_held_back_letters_are_never_trained(rng: np.random.Generator) -> None:
    assert not held_back(letters(rng))
    assert held_back(letters(rng, fresh=True).upper())
    assert 1 <= len(amount(rng)) <= 7
