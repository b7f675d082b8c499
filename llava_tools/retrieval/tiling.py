"""Small print: a page is asked whole, and in parts where it did not show enough.

The vision tower sees a page of any size as a square of 336 pixels, in which small print is lost. So the
model is asked, after its answer, whether the page shows that (see `Llava.score`). Where it rather
does not, the page is asked again in overlapping squares of half its longer side, which are seen at
twice the size. The answer counts that the model was surest of and that its image shows best.
All of it goes by log-probabilities: a server has to report those of prompts, as vLLM does.
`python -m benchmarks.small_print` tells what that gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llava_tools import label_scoring
from llava_tools.core.outputs import Answer
from llava_tools.core.requests import Request
from llava_tools.images import ImageRef, open_image
from llava_tools.tools.geometry import Box
from llava_tools.tools.spec import Plan, answers, question, scores

#: From which weight (see `_weight`) on the whole page's answer is left as it is.
SHOWN = 0.5

#: The longer side from which a part shows more than the whole did: twice what LLaVA's vision tower sees.
LARGE = 672
#: How much of a square the next one repeats at least, so that what one cuts the other shows whole.
OVERLAP = 0.15


def closer(
    page: ImageRef,
    whole: Answer,
    ask: Callable[[ImageRef], Request],
    shows: Callable[[str], str],
) -> Plan[tuple[Answer, Box | None]]:
    """Find the best answer to the whole page or to a part of it, and that part.

    Args:
        page: The page.
        whole: What was answered to all of it, with log-probabilities.
        ask: From an image to the question about it.
        shows: From an answer to what an image shows that gives it.
    """
    boxes = regions(page.size)
    if not boxes:
        return whole, None
    best, said, place = (yield from _weight(page, whole, shows)), whole, None
    if best >= SHOWN:
        return whole, None
    parts = [open_image(page.rgb().crop(box)) for box in boxes]
    told = yield from answers(*map(ask, parts))
    for box, part, answer in zip(boxes, parts, told, strict=True):
        weight = yield from _weight(part, answer, shows)
        if weight > best:
            best, said, place = weight, answer, box
    return said, place


def _weight(image: ImageRef, answer: Answer, shows: Callable[[str], str]) -> Plan[float]:
    """How certain an answer is, times how probably the image shows what it says, 0 to 1."""
    asked = question(label_scoring.shows(shows(answer.text)), image, max_tokens=1)
    shown = label_scoring.yes((yield from scores(asked, label_scoring.YES_OR_NO)))
    return shown * label_scoring.certainty([token.logprob for token in answer.logprobs])


def shown_by(words: str, answer: str) -> str:
    """Return what an image shows that gives this answer to a question."""
    return f"{words} {answer}"


def regions(size: tuple[int, int]) -> list[Box]:
    """Return overlapping squares that cover an image, row by row; none for a small image.

    Args:
        size: Width and height in pixels.
    """
    if max(size) < LARGE:
        return []
    width, height = size
    side = max(size) // 2
    return [
        Box(x, y, min(x + side, width), min(y + side, height))
        for y in _starts(height, side)
        for x in _starts(width, side)
    ]


def _starts(length: int, side: int) -> list[int]:
    """Where squares begin along one side, evenly spread."""
    if length <= side:
        return [0]
    shared = OVERLAP * side
    many = math.ceil((length - shared) / (side - shared))
    return [round(place * (length - side) / (many - 1)) for place in range(many)]
