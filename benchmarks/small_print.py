"""Small details on large pages: accuracy of whole pages, and with tiles as in `retrieval.ask`.

Each page has 1,000 x 1,344 pixels with one detail and, on every other page, grey lines around it.
`number` is a number 20 to 30 pixels high, for a model that reads; `small shape` is a shape that the
embedded model sees as three to six pixels, for a model that knows shapes only; `large shape` checks
that tiles do no harm if nothing is small. Reported: the share of right answers, and the number of
images with the question per page.

    python -m benchmarks.small_print [--each 20] [--model tiny]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.machine import describe
from llava_tools import Llava, open_image
from llava_tools.core.requests import Request
from llava_tools.images import ImageRef
from llava_tools.label_scoring import short_answer_question
from llava_tools.retrieval.tiling import answer_with_tiles, statement
from llava_tools.tools.compare import normalize_answer
from llava_tools.tools.requests import RequestGenerator, build_request, get_answers, run_requests
from recipes.tiny_llava.fonts import HELD_OUT, font
from recipes.tiny_llava.render import polygon
from recipes.tiny_llava.stranger import TONES, phrasings
from recipes.tiny_llava.things import SHAPES
from recipes.tiny_llava.words import phrase, pick

KINDS = ("number", "small shape", "large shape")
SIZE = (1000, 1344)
#: Radius of a shape as a share of the page's height.
SMALL, LARGE = (0.016, 0.028), (0.12, 0.25)
SEED = 6_000_011


@dataclass(frozen=True)
class Case:
    """A page, a question about it, and the answer."""

    kind: str
    image: Image.Image
    question: str
    answer: str


def cases(each: int, seed: int = SEED) -> Iterator[Case]:
    """Draw `each` pages of every kind."""
    rng = np.random.default_rng(seed)
    for kind in KINDS:
        for _ in range(each):
            yield _number(rng) if kind == "number" else _shape(rng, kind)


def _number(rng: np.random.Generator) -> Case:
    text = str(int(rng.integers(100, 10_000)))
    size = int(rng.integers(28, 42))
    x, y = int(rng.integers(60, 800)), int(rng.integers(60, 1240))
    image = _paper(rng, (x - 20, y - 15, x + 180, y + 50))
    letters = font(pick(rng, HELD_OUT), size)
    ImageDraw.Draw(image).text((x, y), text, fill=(20, 20, 25), font=letters)
    return Case("number", image, phrase(rng, phrasings("number")), text)


def _shape(rng: np.random.Generator, kind: str) -> Case:
    radius = rng.uniform(*(SMALL if kind == "small shape" else LARGE)) * SIZE[1]
    x, y = (float(rng.uniform(radius + 20, length - radius - 20)) for length in SIZE)
    reach = radius + 20
    image = _paper(rng, (x - reach, y - reach, x + reach, y + reach))
    shape = pick(rng, SHAPES)
    colour = pick(rng, tuple(name for name in TONES if name != "white"))
    outline = polygon(shape, x, y, radius, slim=0.4)
    ImageDraw.Draw(image).polygon(outline, fill=TONES[colour][0])
    if rng.random() < 0.5:
        return Case(kind, image, f"What colour is the {shape}?", colour)
    return Case(kind, image, "What shape is in the picture?", shape)


def _paper(rng: np.random.Generator, free: Sequence[float]) -> Image.Image:
    """Return a blank page; every other one has lines, except around the box `free`."""
    image = Image.new("RGB", SIZE, (250, 250, 250))
    if rng.random() < 0.5:
        pen = ImageDraw.Draw(image)
        for y in range(60, SIZE[1] - 60, 40):
            if not free[1] < y < free[3]:
                pen.line((80, y, 80 + float(rng.uniform(500, 800)), y), (150, 150, 155), 5)
    return image


def look(case: Case, images: list[ImageRef]) -> RequestGenerator[tuple[str, str]]:
    """Return the answers to the whole page and with zoom; add the images that were used."""

    def make_request(image: ImageRef) -> Request:
        images.append(image)
        request = build_request(short_answer_question(case.question), image, max_tokens=16)
        return replace(request, sampling=replace(request.sampling, logprobs=True))

    page = open_image(case.image)
    (whole,) = yield from get_answers(make_request(page))
    zoomed, _ = yield from answer_with_tiles(
        page, whole, make_request, partial(statement, case.question)
    )
    return whole.text, zoomed.text


def measure(model: Llava, pages: Sequence[Case]) -> dict[str, dict[str, float]]:
    """Return for each kind the share of right answers without and with zoom, and the images."""
    figures: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        images: list[ImageRef] = []
        right: Counter[str] = Counter()
        cases_of_kind = [case for case in pages if case.kind == kind]
        for case in cases_of_kind:
            whole, zoomed = run_requests(model, look(case, images))
            right["whole"] += normalize_answer(whole) == normalize_answer(case.answer)
            right["zoom"] += normalize_answer(zoomed) == normalize_answer(case.answer)
        count = len(cases_of_kind)
        figures[kind] = {
            "whole": round(right["whole"] / count, 3),
            "zoom": round(right["zoom"] / count, 3),
            "images_per_page": round(len(images) / count, 1),
        }
    return figures


def main() -> None:
    """Measure, print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=20, help="pages per kind (20)")
    parser.add_argument("--model", default="tiny")
    options = parser.parse_args()
    with Llava(options.model) as model:
        results = measure(model, list(cases(options.each)))
    for kind, figures in results.items():
        print(f"{kind:12}", *(f"{name} {value:<6}" for name, value in figures.items()))
    print(json.dumps({"benchmark": "small_print", **vars(options), **describe(), **results}))


if __name__ == "__main__":
    main()
