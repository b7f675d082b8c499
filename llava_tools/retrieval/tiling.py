"""Small print: questions a page as a whole, and in tiles if the whole does not show the answer.

The vision tower sees a page of any size as a square of 336 pixels, which loses small print. So a
second request checks whether the page shows the answer to the first (`Llava.score`). If it probably
does not, the same question goes to overlapping square tiles of half the page's longer side, which
the tower sees at twice the size. The answer with the largest weight counts: its certainty times the
probability that its image shows it.

This needs log-probabilities; a server must report those of prompts, as vLLM does.
`python -m benchmarks.small_print` measures the gain.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llava_tools import label_scoring
from llava_tools.core.outputs import Answer
from llava_tools.core.requests import Request
from llava_tools.images import ImageRef, open_image
from llava_tools.tools.geometry import Box
from llava_tools.tools.requests import RequestGenerator, build_request, get_answers, get_scores

#: Weight (see `_weight`) from which the whole page's answer is kept without tiles; measured on
#: probabilities without a calibration.
SUFFICIENT_WEIGHT = 0.5
#: Longer side in pixels from which tiles show more: twice what LLaVA's vision tower sees.
MIN_TILED_SIDE = 672
#: Share of a tile that the next one repeats, at least, so that each cut is whole in one of them.
OVERLAP = 0.15


def answer_with_tiles(
    page: ImageRef,
    whole: Answer,
    make_request: Callable[[ImageRef], Request],
    make_statement: Callable[[str], str],
) -> RequestGenerator[tuple[Answer, Box | None]]:
    """Return the best answer to the whole page or to a tile of it, and that tile.

    `whole` is the answer to the whole page, with log-probabilities. `make_request` returns the
    question about an image, `make_statement` what an image shows if an answer is right.
    """
    boxes = tiles(page.size)
    if not boxes:
        return whole, None
    best, tile = whole, None
    weight = yield from _weight(page, whole, make_statement)
    if weight >= SUFFICIENT_WEIGHT:
        return whole, None
    with page.decoded() as pixels:
        images = [open_image(pixels.crop(box)) for box in boxes]
    tile_answers = yield from get_answers(*map(make_request, images))
    for box, image, answer in zip(boxes, images, tile_answers, strict=True):
        tile_weight = yield from _weight(image, answer, make_statement)
        if tile_weight > weight:
            best, weight, tile = answer, tile_weight, box
    return best, tile


def _weight(
    image: ImageRef, answer: Answer, make_statement: Callable[[str], str]
) -> RequestGenerator[float]:
    """Return an answer's certainty times the probability that the image shows it, 0 to 1."""
    request = build_request(
        label_scoring.shows_question(make_statement(answer.text)), image, max_tokens=1
    )
    shown = label_scoring.yes_probability((yield from get_scores(request, label_scoring.YES_OR_NO)))
    return shown * certainty(answer)


def certainty(answer: Answer) -> float:
    """Return the geometric mean of the probabilities of an answer's tokens, 0 to 1."""
    return label_scoring.certainty([token.logprob for token in answer.logprobs])


def statement(text: str, answer: str) -> str:
    """Return what an image shows if `answer` is the right answer to the question `text`."""
    return f"{text} {answer}"


def tiles(size: tuple[int, int]) -> list[Box]:
    """Return overlapping squares that cover an image of that size; none for a small image."""
    if max(size) < MIN_TILED_SIDE:
        return []
    width, height = size
    side = max(size) // 2
    return [
        Box(x, y, min(x + side, width), min(y + side, height))
        for y in _tile_starts(height, side)
        for x in _tile_starts(width, side)
    ]


def _tile_starts(length: int, side: int) -> list[int]:
    """Return the positions, evenly spread, where tiles begin along a side of the image."""
    if length <= side:
        return [0]
    overlap = OVERLAP * side
    count = math.ceil((length - overlap) / (side - overlap))
    return [round(index * (length - side) / (count - 1)) for index in range(count)]
