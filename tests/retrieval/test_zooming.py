"""Parts of pages: they cover the page, overlap, and are asked where the whole left doubts."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from llava_tools.images import open_image
from llava_tools.retrieval.zooming import LARGE, OVERLAP, cut, regions

lengths = st.integers(1, 4000)


@given(lengths, lengths)
def test_regions_cover_the_page_and_overlap(width: int, height: int) -> None:
    boxes = regions((width, height))
    if max(width, height) < LARGE:
        assert boxes == []
        return
    side = max(width, height) // 2
    assert 2 <= len(boxes) <= 9
    for start, end, length in ((0, 2, width), (1, 3, height)):
        spans = sorted({(box[start], box[end]) for box in boxes})
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        assert all(stop - begin == min(side, length) for begin, stop in spans)
        for (_, stop), (begin, _) in pairwise(spans):
            assert stop - begin >= OVERLAP * side - 1
    assert len(set(boxes)) == len(boxes)


def test_a_part_keeps_its_pixels() -> None:
    page = open_image(Image.effect_noise((900, 700), 80).convert("RGB"))
    box = regions(page.size)[-1]
    assert cut(page, box).rgb().tobytes() == page.rgb().crop(box).tobytes()
