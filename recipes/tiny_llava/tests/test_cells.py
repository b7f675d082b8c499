"""What patches are said to show, for pictures whose content is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.tiny_llava.cells import CHARACTERS, GROUPS, labels
from recipes.tiny_llava.render import draw
from recipes.tiny_llava.sample import sample
from recipes.tiny_llava.things import COLOURS, SHAPES, Bar, Chart, Line, Scene, Shape, Writing

_NAMES = list(GROUPS)


def _column(cells: np.ndarray, name: str) -> np.ndarray:
    return cells[:, _NAMES.index(name)].reshape(8, 8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
def test_labels_are_classes_of_their_groups(seed: int, wide: float, crowded: float) -> None:
    rng = np.random.default_rng(seed)
    drawing = draw(sample(rng, wide, crowded), rng)
    sizes = np.array(list(GROUPS.values()))
    for cells in (
        labels(drawing.picture),
        labels(drawing.picture, drawing.outlines, drawing.glyphs),
    ):
        assert cells.shape == (64, len(GROUPS))
        assert (cells >= 0).all()
        assert (cells < sizes).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_shape_has_one_middle_with_its_name(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = sample(rng, wide=0.0)
    assert isinstance(scene, Scene)
    cells = labels(scene)
    middles = _column(cells, "middle") == 1
    named = sorted(
        (SHAPES[shape - 1], COLOURS[colour - 1])
        for shape, colour in zip(
            _column(cells, "shape")[middles], _column(cells, "colour")[middles], strict=True
        )
    )
    assert named == sorted((shape.kind, shape.colour) for shape in scene.shapes)


def test_a_shape_in_a_wide_picture_is_said_where_it_is_padded_to() -> None:
    scene = Scene("white", 1.0, 0.5, shapes=(Shape("circle", "red", 0.75, 0.25, 0.1),))
    cells = labels(scene)
    ground = _column(cells, "ground")
    assert (ground[[0, 1, 6, 7]] == 0).all()
    assert (ground[2:6] == 1 + COLOURS.index("white")).all()
    assert np.argwhere(_column(cells, "middle")).tolist() == [[4, 6]]
    assert _column(cells, "left")[4, 6] == 1 + round(0.65 * 28)
    assert _column(cells, "top")[4, 6] == 1 + round(0.4 * 28)


def test_a_background_without_a_name_is_a_class_of_its_own() -> None:
    assert (_column(labels(Scene(None)), "ground") == 1 + len(COLOURS)).all()


def test_characters_are_said_in_their_order() -> None:
    line = Line("3.7", 0.5, 0.5, 0.1, 0.9, "blue", kind="number")
    cells = labels(Writing("white", lines=(line,)))
    read = {}
    for slot in range(3):
        characters, places = _column(cells, f"character {slot}"), _column(cells, f"index {slot}")
        for character, place in zip(characters[characters > 0], places[places > 0], strict=True):
            read[place] = CHARACTERS[character - 1]
    assert "".join(read[place] for place in sorted(read)) == "3.7"


@pytest.mark.parametrize(("heights", "tallest"), [((0.3, 0.8, 0.5), 1), ((0.9, 0.2, 0.4), 0)])
def test_the_tallest_and_the_shortest_bar_are_said(
    heights: tuple[float, ...], tallest: int
) -> None:
    bars = tuple(Bar(0.2 + 0.3 * i, 0.2, h, COLOURS[i]) for i, h in enumerate(heights))
    cells = labels(Chart("white", bars=bars, base=0.95))
    standing, colour = _column(cells, "standing"), _column(cells, "colour")
    assert set(colour[standing == 1]) == {1 + tallest}
    assert set(colour[standing == 2]) == {1 + heights.index(min(heights))}
    assert (_column(cells, "bar") >= 2).sum() == 3
