"""`compare`: one image per prompt against all images in one prompt, on pairs of drawn images.

The embedded model answers three questions about pairs of the second renderer, which are not in its
training data; the answers of half of the pairs agree. Methods: `merge` has a prompt for each image
and compares the answers; `together` shows both images and the question whether the answers agree;
`ordinal` shows both images, with a question for the first and one for the second, and compares.

    python -m benchmarks.compare [--pairs 100] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.machine import describe
from llava_tools import Llava, open_image
from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.label_scoring import short_answer_question
from llava_tools.tools import TOOLS
from llava_tools.tools.compare import agree
from recipes.tiny_llava.stranger import draw_scene, sample_scene
from recipes.tiny_llava.things import Scene

QUESTIONS = {
    "background": "What is the colour of the background?",
    "count": "How many shapes are there in the picture?",
    "shape": "What shape is in the picture?",
}
NTH = "Look at the {nth} picture only. {question}"
SEED = 2_000_003


@dataclass(frozen=True)
class Pair:
    """Two images, the kind of question about them, and its answers."""

    kind: str
    images: tuple[ImageRef, ImageRef]
    answers: tuple[str, str]

    @property
    def same(self) -> bool:
        """Whether the answers agree."""
        return self.answers[0] == self.answers[1]


def _answer(scene: Scene, kind: str) -> str | None:
    """Return the answer; None if the question would be ambiguous."""
    if kind == "background":
        return scene.background
    if kind == "count":
        return str(len(scene.shapes))
    return scene.shapes[0].kind if len(scene.shapes) == 1 else None


def drawn_pairs(each: int) -> Iterator[Pair]:
    """Draw `each` pairs per question; the answers of every other pair agree."""
    rng = np.random.default_rng(SEED)

    def scene(kind: str) -> tuple[ImageRef, str]:
        while True:
            sampled = sample_scene(rng)
            answer = _answer(sampled, kind)
            if answer is not None:
                return open_image(draw_scene(sampled, rng).image), answer

    for kind in QUESTIONS:
        for number in range(each):
            first, answer = scene(kind)
            second, other = scene(kind)
            while (answer == other) != (number % 2 == 0):
                second, other = scene(kind)
            yield Pair(kind, (first, second), (answer, other))


def measure(model: Llava, each: int) -> dict[str, float]:
    """Return the share of right verdicts by question and method, and of right single answers."""
    resolver = ImageResolver(ImageStore())
    right: Counter[str] = Counter()
    for pair in drawn_pairs(each):
        question = QUESTIONS[pair.kind]
        images = [resolver.add(image) for image in pair.images]
        for method in ("merge", "together"):
            together = method == "together"
            arguments = {"images": images, "question": question, "together": together}
            compare = TOOLS["compare"]
            result = compare.run(model, compare.parse(arguments), resolver)
            right[f"{pair.kind}_{method}"] += result.same == pair.same
            if method == "merge":
                right[f"{pair.kind}_merge_answers"] += result.answers == pair.answers
        texts = [
            model.ask(
                short_answer_question(NTH.format(nth=nth, question=question)), pair.images
            ).text
            for nth in ("first", "second")
        ]
        right[f"{pair.kind}_ordinal"] += agree(texts) == pair.same
        right[f"{pair.kind}_ordinal_answers"] += tuple(texts) == pair.answers
    figures = {name: round(count / each, 3) for name, count in right.items()}
    for method in ("merge", "together", "ordinal"):
        figures[method] = round(sum(right[f"{kind}_{method}"] for kind in QUESTIONS) / each / 3, 3)
    return figures


def main() -> None:
    """Measure and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100, help="pairs per question")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with Llava() as model:
        figures = measure(model, options.pairs)
    for name, value in figures.items():
        print(f"{name:28}{value:>8}")
    print(json.dumps({"benchmark": "compare", **vars(options), **describe(), **figures}))


if __name__ == "__main__":
    main()
