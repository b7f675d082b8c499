"""Where a model's boxes lie: `locate` on drawn images, wide, tall and square.

Images of the first renderer, never trained on, each with a shape that its colour and kind
name alone. Told per form: the mean overlap (intersection over union) of the boxes on the image's
own pixels with the true ones, the share of at least 0.5, how certain the model was, and what a
perfect model would reach, which writes hundredths of the padded square.

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
from llava_tools.tools.geometry import Box, clipped, unpadded
from llava_tools.tools.locate import LocateArguments, locate
from recipes.tiny_llava.draw import draw
from recipes.tiny_llava.wide.questions import overlap
from recipes.tiny_llava.world import Scene, sample_scene

FORMS = ("wide", "tall", "square")
SEED = 4_000_037


@dataclass(frozen=True)
class Case:
    """An image, what to find on it, and where that is in pixels."""

    form: str
    image: Image.Image
    thing: str
    box: Box

    @property
    def perfect(self) -> Box | None:
        """The box that a perfect model says: in hundredths of the padded square."""
        size = self.image.size
        side = max(size)
        shifts = ((side - size[0]) // 2, (side - size[1]) // 2) * 2
        corners = [
            round((edge + shift) / side, 2) for edge, shift in zip(self.box, shifts, strict=True)
        ]
        return unpadded(corners, size)


def cases(each: int, seed: int = SEED) -> Iterator[Case]:
    """Draw `each` images of every form."""
    rng = np.random.default_rng(seed)
    left = dict.fromkeys(FORMS, each)
    while any(left.values()):
        drawing = draw(sample_scene(rng), rng)
        width, height = drawing.picture.size
        form = "wide" if width > height else "tall" if height > width else "square"
        found = _named(drawing.scene, drawing.picture.size)
        if left[form] and found is not None:
            left[form] -= 1
            yield Case(form, drawing.picture, *found)


def _named(scene: Scene, size: tuple[int, int]) -> tuple[str, Box] | None:
    """Return the first shape that colour and kind name alone, and its box."""
    for shape in scene.shapes:
        if scene.count(shape.colour, shape.kind) == 1 and shape.box is not None:
            box = clipped([round(edge * max(size)) for edge in shape.box], size)
            return None if box is None else (f"the {shape.colour} {shape.kind}", box)
    return None


def measure(model: Llava, each: int) -> dict[str, dict[str, float]]:
    """Return the figures of each form."""
    resolver = ImageResolver(ImageStore())
    told: dict[str, list[tuple[float, float, float]]] = {form: [] for form in FORMS}
    for case in cases(each):
        asked = LocateArguments(image=resolver.add(case.image), thing=case.thing)
        found = locate.run(model, asked, resolver)
        overlaps = [overlap(box, case.box) if box else 0.0 for box in (found.box, case.perfect)]
        told[case.form].append((overlaps[0], overlaps[1], found.certainty))
    return {form: _figures(rows) for form, rows in told.items()}


def _figures(rows: list[tuple[float, float, float]]) -> dict[str, float]:
    overlaps, perfect, certain = zip(*rows, strict=True)
    return {
        "mean_overlap": round(statistics.mean(overlaps), 3),
        "half_or_more": round(sum(one >= 0.5 for one in overlaps) / len(overlaps), 3),
        "certainty": round(statistics.mean(certain), 3),
        "perfect_mean_overlap": round(statistics.mean(perfect), 3),
    }


def main() -> None:
    """Measure, print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--each", type=int, default=40, help="pictures a form (40)")
    options = parser.parse_args()
    with Llava(options.model) as model:
        told = measure(model, options.each)
    for form, figures in told.items():
        print(f"{form:8}", *(f"{name} {value:<8}" for name, value in figures.items()))
    print(json.dumps({"benchmark": "boxes", **vars(options), **describe(), "forms": told}))


if __name__ == "__main__":
    main()
