"""Scenes keep the rules that questions and renderers rely on."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.tiny_llava.world import COLOURS, SHAPES, SMALLEST_RADIUS, sample_scene

seeds = st.integers(0, 2**32)


@given(seeds)
@settings(max_examples=150, deadline=None)
def test_shapes_lie_on_the_canvas_and_apart(seed: int) -> None:
    scene = sample_scene(np.random.default_rng(seed), crowded=0.3)
    assert max(scene.width, scene.height) == 1.0
    for index, shape in enumerate(scene.shapes):
        assert shape.kind in SHAPES
        assert shape.colour in COLOURS
        assert shape.colour != scene.background
        assert shape.radius >= SMALLEST_RADIUS - 1e-9
        assert shape.x - shape.radius >= -0.01
        assert shape.x + shape.radius <= scene.width + 0.01
        assert shape.y - shape.radius >= -0.01
        assert shape.y + shape.radius <= scene.height + 0.01
        for other in scene.shapes[:index]:
            apart = math.hypot(shape.x - other.x, shape.y - other.y)
            assert apart > 0.7 * (shape.radius + other.radius)


def test_a_seed_gives_the_same_scene_again() -> None:
    first = sample_scene(np.random.default_rng(3))
    assert first == sample_scene(np.random.default_rng(3))


def test_every_number_of_shapes_comes_up() -> None:
    rng = np.random.default_rng(0)
    counts = [len(sample_scene(rng).shapes) for _ in range(600)]
    assert {1, 2, 3, 4, 5} <= set(counts)
    assert max(counts) <= 6
