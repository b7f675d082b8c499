"""Boxes on the padded square and on the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from llava_tools import Llava
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.testing import ScriptedBackend
from llava_tools.tools.geometry import Box, clipped, unpadded
from llava_tools.tools.locate import LocateArguments, locate
from recipes.tiny_llava.draw import draw
from recipes.tiny_llava.wide.questions import overlap
from recipes.tiny_llava.world import sample_scene

lengths = st.integers(1, 3000)
sizes = st.tuples(lengths, lengths)


def padded(box: Box, size: tuple[int, int]) -> list[float]:
    """Where a box of an image lies on LLaVA's square: the other direction, written apart."""
    side = max(size)
    shift = ((side - size[0]) // 2, (side - size[1]) // 2) * 2
    return [(edge + moved) / side for edge, moved in zip(box, shift, strict=True)]


@st.composite
def boxes(draw: st.DrawFn) -> tuple[Box, tuple[int, int]]:
    width, height = draw(sizes)
    x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    x2, y2 = draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height))
    return Box(x1, y1, x2, y2), (width, height)


@pytest.mark.parametrize(
    ("size", "corners", "expected"),
    [
        # Square: nothing to take away.
        ((200, 200), (0.25, 0.5, 0.75, 1.0), (50, 100, 150, 200)),
        # Wide, 400 x 200: 100 pixels of padding above and below.
        ((400, 200), (0.25, 0.5, 0.5, 0.75), (100, 100, 200, 200)),
        ((400, 200), (0.0, 0.25, 1.0, 0.75), (0, 0, 400, 200)),
        ((400, 200), (0.0, 0.0, 1.0, 1.0), (0, 0, 400, 200)),
        # Tall, 100 x 400: 150 pixels of padding left and right.
        ((100, 400), (0.4, 0.1, 0.5, 0.2), (10, 40, 50, 80)),
        ((100, 400), (0.5, 0.1, 0.4, 0.2), (10, 40, 50, 80)),
        # Odd padding: the smaller half is above, as in LLaVA's expand2square.
        ((101, 100), (0.0, 0.0, 1.0, 1.0), (0, 0, 101, 100)),
        # In the padding, or without an area.
        ((400, 200), (0.2, 0.0, 0.6, 0.2), None),
        ((100, 400), (0.9, 0.1, 1.0, 0.9), None),
        ((200, 200), (0.3, 0.3, 0.3, 0.9), None),
    ],
)
def test_known_boxes(
    size: tuple[int, int], corners: tuple[float, ...], expected: tuple[int, ...] | None
) -> None:
    assert unpadded(corners, size) == expected


@given(boxes())
def test_a_box_comes_back_from_the_square(expected_box: tuple[Box, tuple[int, int]]) -> None:
    box, size = expected_box
    assert unpadded(padded(box, size), size) == box


@given(boxes())
def test_hundredths_cost_half_a_hundredth_of_the_longer_side(
    expected_box: tuple[Box, tuple[int, int]],
) -> None:
    """What LLaVA can write: two decimals."""
    box, size = expected_box
    found = unpadded([round(corner, 2) for corner in padded(box, size)], size)
    if found is None:  # narrower than what two decimals can say
        assert min(box.x2 - box.x1, box.y2 - box.y1) <= 0.01 * max(size) + 1
    else:
        for edge, expected in zip(found, box, strict=True):
            assert abs(edge - expected) <= 0.005 * max(size) + 1


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), sizes)
def test_every_box_lies_on_the_image(corners: list[float], size: tuple[int, int]) -> None:
    box = unpadded(corners, size)
    if box is not None:
        assert 0 <= box.x1 < box.x2 <= size[0]
        assert 0 <= box.y1 < box.y2 <= size[1]


@given(st.lists(st.integers(-5000, 5000), min_size=4, max_size=4), sizes)
def test_clipping(expected_box: list[int], size: tuple[int, int]) -> None:
    box = clipped(expected_box, size)
    if box is not None:
        assert 0 <= box.x1 < box.x2 <= size[0]
        assert 0 <= box.y1 < box.y2 <= size[1]
        assert box.x1 >= expected_box[0]
        assert box.y2 <= expected_box[3]


@pytest.mark.parametrize("size", [(320, 120), (120, 320), (200, 200), (301, 100), (99, 300)])
def test_against_what_the_model_is_shown(size: tuple[int, int]) -> None:
    """A mark is found in the pixels that the vision tower gets, and lands where it was drawn."""
    box = Box(size[0] // 3, size[1] // 4, size[0] // 3 + 20, size[1] // 4 + 30)
    image = Image.new("RGB", size, "black")
    ImageDraw.Draw(image).rectangle((box.x1, box.y1, box.x2 - 1, box.y2 - 1), fill="white")
    side = 336
    processor = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    pixels = processor([image], return_tensors="pt")["pixel_values"][0]
    white = pixels[0] > (190 / 255 - processor.image_mean[0]) / processor.image_std[0]
    y, x = white.nonzero(as_tuple=True)
    corners = [int(edge) for edge in (x.min(), y.min(), x.max() + 1, y.max() + 1)]
    found = unpadded([edge / side for edge in corners], size)
    assert found is not None
    for edge, expected in zip(found, box, strict=True):
        assert abs(edge - expected) <= 2


def test_boxes_of_drawn_shapes_in_two_decimals() -> None:
    """What a perfect model reaches: the rest is lost to writing hundredths."""
    rng = np.random.default_rng(5)
    found: dict[str, list[float]] = {"wide": [], "tall": [], "square": []}
    while min(map(len, found.values())) < 100:
        scene = sample_scene(rng)
        drawing = draw(scene, rng)
        width, height = size = drawing.picture.size
        form = "wide" if width > height else "tall" if height > width else "square"
        for outline in drawing.outlines:
            xs, ys = zip(*outline, strict=True)
            edges = (min(xs), min(ys), max(xs), max(ys))
            true = clipped([round(edge * max(size)) for edge in edges], size)
            assert true is not None
            told = unpadded([round(corner, 2) for corner in padded(true, size)], size)
            found[form].append(0.0 if told is None else overlap(told, true))
    means = {form: round(float(np.mean(values)), 3) for form, values in found.items()}
    assert min(means.values()) > 0.95, means


sides = st.integers(500, 800)


@st.composite
def large_boxes(draw: st.DrawFn) -> tuple[Box, tuple[int, int]]:
    """An image, wide or tall or square, and a box of at least half its longer side each way."""
    form = draw(st.sampled_from(["wide", "tall", "square"]))
    longer = draw(sides)
    shorter = longer if form == "square" else draw(st.integers(longer // 2 + 1, longer))
    width, height = (shorter, longer) if form == "tall" else (longer, shorter)
    least = (longer + 1) // 2
    x1, y1 = draw(st.integers(0, width - least)), draw(st.integers(0, height - least))
    x2, y2 = draw(st.integers(x1 + least, width)), draw(st.integers(y1 + least, height))
    return Box(x1, y1, x2, y2), (width, height)


@given(large_boxes())
def test_locate_gives_back_the_box_that_the_model_wrote(
    expected_box: tuple[Box, tuple[int, int]],
) -> None:
    """Through the tool, from what a perfect model writes: two decimals on the padded square."""
    box, size = expected_box
    written = "[" + ", ".join(f"{corner:.2f}" for corner in padded(box, size)) + "]"
    resolver = ImageResolver(ImageStore())
    shown = LocateArguments(image=resolver.add(Image.new("RGB", size)), thing="the red car")
    found = locate.run(Llava(backend=ScriptedBackend([written])), shown, resolver)
    assert found.box is not None
    assert overlap(found.box, box) >= 0.95
