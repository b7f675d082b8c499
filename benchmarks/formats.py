"""Accuracy on wide, tall and large images against small squares.

Draws scenes of the first renderer with seeds outside training, equally many of each form; wide and
tall ones have an aspect ratio of at least 4:3. The same question is answered about each image as
drawn (84 to 340 pixels) and enlarged to 4,000 pixels, both through the package's own preprocessing.
Reports the shares of exact answers.

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
from recipes.tiny_llava.questions import ask, spoken
from recipes.tiny_llava.render import draw
from recipes.tiny_llava.sample import sample_scene
from recipes.tiny_llava.things import Scene

FORMS = ("square", "wide", "tall")
KINDS = ("colour", "shape", "count", "exist", "background")
LARGE = 4000
MIN_ASPECT_RATIO = 4 / 3
SEED = 6_000_011


@dataclass(frozen=True)
class Case:
    """An image as drawn, its form, and a question with its answer."""

    form: str
    image: Image.Image
    question: str
    answer: str

    @property
    def enlarged(self) -> Image.Image:
        """The same image, its longer side `LARGE` pixels."""
        scale = LARGE / max(self.image.size)
        width, height = (max(1, round(side * scale)) for side in self.image.size)
        return self.image.resize((width, height), Image.Resampling.BICUBIC)


def cases(each: int, kinds: Sequence[str] = KINDS, seed: int = SEED) -> Iterator[Case]:
    """Draw `each` images of every form; the kinds of questions take turns."""
    rng = np.random.default_rng(seed)
    remaining = dict.fromkeys(FORMS, each)
    while any(remaining.values()):
        scene = sample_scene(rng)
        form = _form(scene)
        if form is None or not remaining[form]:
            continue
        kind = kinds[remaining[form] % len(kinds)]
        question = ask(scene, rng, kind)
        if question is not None:
            remaining[form] -= 1
            yield Case(form, draw(scene, rng).image, spoken(question, rng), question.answer)


def _form(scene: Scene) -> str | None:
    if scene.width == scene.height:
        return "square"
    if max(scene.width, scene.height) < MIN_ASPECT_RATIO * min(scene.width, scene.height):
        return None
    return "wide" if scene.width > scene.height else "tall"


def measure(model: Llava, each: int) -> dict[str, dict[str, float]]:
    """Return, by form, shares of exact answers (as drawn, enlarged) and of equal answers."""
    counts: Counter[tuple[str, str]] = Counter()
    for case in cases(each):
        drawn, large = (
            model.ask(case.question, image, max_tokens=12).text.strip()
            for image in (case.image, case.enlarged)
        )
        counts[case.form, "as_drawn"] += drawn == case.answer
        counts[case.form, "enlarged"] += large == case.answer
        counts[case.form, "same"] += drawn == large
    names = ("as_drawn", "enlarged", "same")
    return {form: {name: counts[form, name] / each for name in names} for form in FORMS}


def main() -> None:
    """Measure, print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--each", type=int, default=100, help="images of each form (100)")
    options = parser.parse_args()
    with Llava(options.model) as model:
        shares = measure(model, options.each)
    for form, figures in shares.items():
        print(f"{form:8}", *(f"{name} {value:<8.3f}" for name, value in figures.items()))
    print(json.dumps({"benchmark": "formats", **vars(options), **describe(), "forms": shares}))


if __name__ == "__main__":
    main()
