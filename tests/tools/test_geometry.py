"""Boxes are converted between the padded square and the image."""

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
from llava_tools.tools.geometry import Box, clip_box, unpad_box
from llava_tools.tools.locate import LocateArguments, locate
from recipes.tiny_llava.questions import overlap
from recipes.tiny_llava.render import draw
from recipes.tiny_llava.sample import sample_scene

lengths = st.integers(1, 3000)
sizes = st.tuples(lengths, lengths)


def padded(box: Box, size: tuple[int, int]) -> list[float]:
    """Return where a box of an image lies on LLaVA's square, the inverse of `unpad_box`."""
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
        # Square: no padding.
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
def test_unpad_box(
    size: tuple[int, int], corners: tuple[float, ...], expected: tuple[int, ...] | None
) -> None:
    assert unpad_box(corners, size) == expected


@given(boxes())
def test_unpad_box_inverts_padding(expected_box: tuple[Box, tuple[int, int]]) -> None:
    box, size = expected_box
    assert unpad_box(padded(box, size), size) == box


@given(boxes())
def test_two_decimals_shift_edges_by_half_a_hundredth_at_most(
    expected_box: tuple[Box, tuple[int, int]],
) -> None:
    box, size = expected_box
    result = unpad_box([round(corner, 2) for corner in padded(box, size)], size)
    if result is None:  # narrower than two decimals can express
        assert min(box.x2 - box.x1, box.y2 - box.y1) <= 0.01 * max(size) + 1
    else:
        for edge, expected in zip(result, box, strict=True):
            assert abs(edge - expected) <= 0.005 * max(size) + 1


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), sizes)
def test_unpadded_boxes_lie_on_the_image(corners: list[float], size: tuple[int, int]) -> None:
    box = unpad_box(corners, size)
    if box is not None:
        assert 0 <= box.x1 < box.x2 <= size[0]
        assert 0 <= box.y1 < box.y2 <= size[1]


@given(st.lists(st.integers(-5000, 5000), min_size=4, max_size=4), sizes)
def test_clipped_boxes_lie_on_the_image(expected_box: list[int], size: tuple[int, int]) -> None:
    box = clip_box(expected_box, size)
    if box is not None:
        assert 0 <= box.x1 < box.x2 <= size[0]
        assert 0 <= box.y1 < box.y2 <= size[1]
        assert box.x1 >= expected_box[0]
        assert box.y2 <= expected_box[3]


@pytest.mark.parametrize("size", [(320, 120), (120, 320), (200, 200), (301, 100), (99, 300)])
def test_box_of_a_mark_in_the_models_pixels(size: tuple[int, int]) -> None:
    """A mark in the pixels of the vision tower is converted to where it was drawn."""
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
    result = unpad_box([edge / side for edge in corners], size)
    assert result is not None
    for edge, expected in zip(result, box, strict=True):
        assert abs(edge - expected) <= 2


def test_two_decimals_keep_the_overlap_of_drawn_shapes_above_095() -> None:
    """The overlap of a perfect model; the rest is lost to two decimals."""
    rng = np.random.default_rng(5)
    overlaps: dict[str, list[float]] = {"wide": [], "tall": [], "square": []}
    while min(map(len, overlaps.values())) < 100:
        scene = sample_scene(rng)
        drawing = draw(scene, rng)
        width, height = size = drawing.image.size
        form = "wide" if width > height else "tall" if height > width else "square"
        for outline in drawing.outlines:
            xs, ys = zip(*outline, strict=True)
            edges = (min(xs), min(ys), max(xs), max(ys))
            true = clip_box([round(edge * max(size)) for edge in edges], size)
            assert true is not None
            box = unpad_box([round(corner, 2) for corner in padded(true, size)], size)
            overlaps[form].append(0.0 if box is None else overlap(box, true))
    means = {form: round(float(np.mean(values)), 3) for form, values in overlaps.items()}
    assert min(means.values()) > 0.95, means


sides = st.integers(500, 800)


@st.composite
def large_boxes(draw: st.DrawFn) -> tuple[Box, tuple[int, int]]:
    """Draw the size of a wide, tall or square image, and a box of at least half its longer side."""
    form = draw(st.sampled_from(["wide", "tall", "square"]))
    longer = draw(sides)
    shorter = longer if form == "square" else draw(st.integers(longer // 2 + 1, longer))
    width, height = (shorter, longer) if form == "tall" else (longer, shorter)
    least = (longer + 1) // 2
    x1, y1 = draw(st.integers(0, width - least)), draw(st.integers(0, height - least))
    x2, y2 = draw(st.integers(x1 + least, width)), draw(st.integers(y1 + least, height))
    return Box(x1, y1, x2, y2), (width, height)


@given(large_boxes())
def test_locate_returns_the_box_that_the_model_wrote(
    expected_box: tuple[Box, tuple[int, int]],
) -> None:
    """A perfect model writes two decimals on the padded square."""
    box, size = expected_box
    written = "[" + ", ".join(f"{corner:.2f}" for corner in padded(box, size)) + "]"
    resolver = ImageResolver(ImageStore())
    arguments = LocateArguments(image=resolver.add(Image.new("RGB", size)), thing="the red car")
    result = locate.run(Llava(backend=ScriptedBackend([written])), arguments, resolver)
    assert result.box is not None
    assert overlap(result.box, box) >= 0.95
