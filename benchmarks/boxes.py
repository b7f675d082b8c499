"""`locate`: accuracy of a model's boxes on wide, tall and square drawn images.

The images are of the first renderer, not in the training data, and have a shape that is unique by
its colour and kind. Reported per form: mean intersection over union of the boxes with the true
ones in pixels of the image, the share of at least 0.5, mean certainty, and the mean of a perfect
model, which writes hundredths of the padded square.

    python -m benchmarks.boxes [--model tiny] [--each 40]
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from benchmarks.machine import describe
from llava_tools import Llava
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.tools.geometry import Box, clip_box, unpad_box
from llava_tools.tools.locate import LocateArguments, locate
from recipes.tiny_llava.questions import overlap
from recipes.tiny_llava.render import draw
from recipes.tiny_llava.sample import sample_scene
from recipes.tiny_llava.things import Scene

FORMS = ("wide", "tall", "square")
SEED = 4_000_037


@dataclass(frozen=True)
class Case:
    """An image, a target in it, and the target's box in pixels."""

    form: str
    image: Image.Image
    target: str
    box: Box

    @property
    def perfect(self) -> Box | None:
        """The box of a perfect model: the true one in hundredths of the padded square."""
        size = self.image.size
        side = max(size)
        shifts = ((side - size[0]) // 2, (side - size[1]) // 2) * 2
        corners = [
            round((edge + shift) / side, 2) for edge, shift in zip(self.box, shifts, strict=True)
        ]
        return unpad_box(corners, size)


def cases(each: int, seed: int = SEED) -> Iterator[Case]:
    """Draw `each` images of every form."""
    rng = np.random.default_rng(seed)
    remaining = dict.fromkeys(FORMS, each)
    while any(remaining.values()):
        drawing = draw(sample_scene(rng), rng)
        width, height = drawing.image.size
        form = "wide" if width > height else "tall" if height > width else "square"
        target = _unique_shape(drawing.scene, drawing.image.size)
        if remaining[form] and target is not None:
            remaining[form] -= 1
            yield Case(form, drawing.image, *target)


def _unique_shape(scene: Scene, size: tuple[int, int]) -> tuple[str, Box] | None:
    """Return the first shape that is unique by colour and kind, and its box."""
    for shape in scene.shapes:
        if scene.count(shape.colour, shape.kind) == 1 and shape.box is not None:
            box = clip_box([round(edge * max(size)) for edge in shape.box], size)
            return None if box is None else (f"the {shape.colour} {shape.kind}", box)
    return None


def measure(model: Llava, each: int) -> dict[str, dict[str, float]]:
    """Return the figures of each form."""
    resolver = ImageResolver(ImageStore())
    rows: dict[str, list[tuple[float, float, float]]] = {form: [] for form in FORMS}
    for case in cases(each):
        arguments = LocateArguments(image=resolver.add(case.image), thing=case.target)
        result = locate.run(model, arguments, resolver)
        overlaps = [overlap(box, case.box) if box else 0.0 for box in (result.box, case.perfect)]
        rows[case.form].append((overlaps[0], overlaps[1], result.certainty))
    return {form: _figures(rows[form]) for form in FORMS}


def _figures(rows: list[tuple[float, float, float]]) -> dict[str, float]:
    overlaps, perfect, certainties = zip(*rows, strict=True)
    return {
        "mean_overlap": round(statistics.mean(overlaps), 3),
        "half_or_more": round(sum(x >= 0.5 for x in overlaps) / len(overlaps), 3),
        "certainty": round(statistics.mean(certainties), 3),
        "perfect_mean_overlap": round(statistics.mean(perfect), 3),
    }


def main() -> None:
    """Measure, print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--each", type=int, default=40, help="images per form (40)")
    options = parser.parse_args()
    with Llava(options.model) as model:
        results = measure(model, options.each)
    for form, figures in results.items():
        print(f"{form:8}", *(f"{name} {value:<8}" for name, value in figures.items()))
    print(json.dumps({"benchmark": "boxes", **vars(options), **describe(), "forms": results}))


if __name__ == "__main__":
    main()
