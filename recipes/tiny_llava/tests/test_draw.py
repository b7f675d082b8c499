"""Both renderers draw what the scene says."""

import numpy as np
import pytest
from PIL import Image

from recipes.tiny_llava import held_out
from recipes.tiny_llava.draw import draw, square
from recipes.tiny_llava.tones import ANCHORS, distance, nearest_name, sample_tone
from recipes.tiny_llava.world import COLOURS, SHAPES, Scene, Shape


def middle(picture: Image.Image, x: float, y: float) -> tuple[int, int, int]:
    """The median tone of the nine pixels around a place in 0–1."""
    pixels = np.asarray(picture)
    row, column = round(y * pixels.shape[0]), round(x * pixels.shape[1])
    patch = pixels[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3)
    red, green, blue = (int(value) for value in np.median(patch, axis=0))
    return red, green, blue


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_a_shapes_middle_has_its_colour(kind: str, colour: str) -> None:
    background = "white" if colour != "white" else "black"
    scene = Scene((Shape(kind, colour, 0.4, 0.55, 0.25),), background)
    rng = np.random.default_rng(7)
    drawing = draw(scene, rng, plain=True)
    assert nearest_name(middle(drawing.image, 0.4, 0.55)) == colour
    assert nearest_name(middle(drawing.image, 0.95, 0.05)) == background
    second = held_out.render(scene, rng)
    near = min(held_out.TONES[colour], key=lambda tone: distance(tone, middle(second, 0.4, 0.55)))
    assert distance(near, middle(second, 0.4, 0.55)) < 60


@pytest.mark.parametrize("colour", COLOURS)
def test_tones_keep_their_name(colour: str) -> None:
    rng = np.random.default_rng(1)
    assert all(nearest_name(sample_tone(rng, colour)) == colour for _ in range(100))
    assert all(nearest_name(tone) == colour for tone in ANCHORS[colour])


def test_pictures_are_padded_with_the_clip_mean() -> None:
    scene = Scene((Shape("circle", "red", 0.5, 0.25, 0.15),), "white", 1.0, 0.5)
    padded = square(draw(scene, np.random.default_rng(0), plain=True).image)
    assert padded.size == (112, 112)
    assert middle(padded, 0.5, 0.1) == (122, 116, 104)
    assert nearest_name(middle(padded, 0.5, 0.5)) == "red"


def test_drawing_is_repeatable_and_varied() -> None:
    scene = Scene((Shape("star", "blue", 0.5, 0.5, 0.3),), "yellow")
    pictures = [
        np.asarray(square(draw(scene, np.random.default_rng(seed)).image)) for seed in (1, 1, 2)
    ]
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] != pictures[2]).any()


@pytest.mark.parametrize("kind", SHAPES)
def test_the_second_renderer_draws_different_shapes(kind: str) -> None:
    areas = {}
    for name in SHAPES:
        scene = Scene((Shape(name, "black", 0.5, 0.5, 0.3),), "white")
        pixels = np.asarray(held_out.render(scene, np.random.default_rng(5)).convert("L"))
        areas[name] = pixels < 128
    for name in SHAPES:
        overlap = (areas[kind] & areas[name]).sum() / (areas[kind] | areas[name]).sum()
        assert (overlap > 0.9) == (name == kind)
