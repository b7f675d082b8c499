"""Whether a model answers as well about wide, tall and large images as about small squares.

Scenes of the first renderer on unseen seeds, as many of every form; wide and tall ones are at least
a third longer than broad. Each image is asked about twice, in the same words: as it was drawn
(84 to 340 pixels) and enlarged to 4,000 pixels. Both go through the package's own preprocessing.
Told are the shares of exact answers.

    python -m benchmarks.formats [--model tiny] [--each 100]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from benchmarks.machine import describe
from llava_tools import Llava
from recipes.tiny_llava.draw import draw
from recipes.tiny_llava.manners import spoken
from recipes.tiny_llava.questions import ASKERS
from recipes.tiny_llava.world import Scene, sample_scene

FORMS = ("square", "wide", "tall")
KINDS = ("colour", "shape", "count", "exist", "background")
LARGE = 4000
LONGER = 4 / 3
SEED = 6_000_011


@dataclass(frozen=True)
class Case:
    """An image as drawn, its form, and a question with its answer."""

    form: str
    image: Image.Image
    asked: str
    answer: str

    @property
    def enlarged(self) -> Image.Image:
        """The same image, its longer side `LARGE` pixels."""
        scale = LARGE / max(self.image.size)
        width, height = (max(1, round(side * scale)) for side in self.image.size)
        return self.image.resize((width, height), Image.Resampling.BICUBIC)


def cases(each: int, kinds: Sequence[str] = KINDS, seed: int = SEED) -> Iterator[Case]:
    """Draw `each` images of every form, the kinds of questions by turns."""
    rng = np.random.default_rng(seed)
    left = dict.fromkeys(FORMS, each)
    while any(left.values()):
        scene = sample_scene(rng)
        form = _form(scene)
        if form is None or not left[form]:
            continue
        kind = kinds[left[form] % len(kinds)]
        question = ASKERS[kind][1](scene, rng)
        if question is not None:
            left[form] -= 1
            yield Case(form, draw(scene, rng).picture, spoken(question, rng), question.answer)


def _form(scene: Scene) -> str | None:
    if scene.width == scene.height:
        return "square"
    if max(scene.width, scene.height) < LONGER * min(scene.width, scene.height):
        return None
    return "wide" if scene.width > scene.height else "tall"


def measure(model: Llava, each: int) -> dict[str, dict[str, float]]:
    """Return the share of exact answers of each form, as drawn and enlarged, and of the same."""
    right: Counter[tuple[str, str]] = Counter()
    for case in cases(each):
        drawn, large = (
            model.ask(case.asked, image, max_tokens=12).text.strip()
            for image in (case.image, case.enlarged)
        )
        right[case.form, "as_drawn"] += drawn == case.answer
        right[case.form, "enlarged"] += large == case.answer
        right[case.form, "same"] += drawn == large
    told = ("as_drawn", "enlarged", "same")
    return {form: {name: right[form, name] / each for name in told} for form in FORMS}


def main() -> None:
    """Measure, print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--each", type=int, default=100, help="pictures a form (100)")
    options = parser.parse_args()
    with Llava(options.model) as model:
        told = measure(model, options.each)
    for form, figures in told.items():
        print(f"{form:8}", *(f"{name} {value:<8.3f}" for name, value in figures.items()))
    print(json.dumps({"benchmark": "formats", **vars(options), **describe(), "forms": told}))


if __name__ == "__main__":
    main()
