"""Labelled images for `llava-tools calibrate`, of seeds that no training and no examination uses.

`python -m recipes.tiny.labelled FOLDER` writes `data.json` and its images.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import exam, render, sample
from .questions import PLACES
from .things import COLOURS, SHAPES, Scene
from .words import pick

Record = dict[str, Any]

#: Kinds of questions whose answers are among few.
CLOSED = (
    "colour", "shape", "background", "position", "relation", "exist", "stamp there", "count",
    "count colour", "count shape", "count both", "count bars", "count lines", "stamp",
    "bar's colour", "tallest", "shortest",
)  # fmt: skip


def labels(kind: str, answer: str) -> tuple[str, ...]:
    """Return what a question of a kind may be answered, given its right answer."""
    if kind.startswith("count"):
        return tuple("012345678")
    if answer in ("yes", "no"):
        return "yes", "no"
    if kind in ("shape", "relation"):
        return SHAPES
    return tuple(place for row in PLACES for place in row) if kind == "position" else COLOURS


def choices(each: int) -> Iterator[tuple[Image.Image, list[Record]]]:
    """Yield images with a question; fewer than `each` a kind where bars are named by letters."""
    for kind in CLOSED:
        for drawing, question, _ in exam.drawn(exam.draw_question, kind, each, (4, 0)):
            among = labels(kind, question.answer)
            fields = {"question": question.text, "labels": among, "answer": question.answer}
            if question.answer in among:
                yield drawing.image, [fields]


def statements(scenes: int) -> Iterator[tuple[Image.Image, list[Record]]]:
    """Yield images with two sorts of shapes that they show, and two that they do not.

    Of these, one is random, and one has a colour and a kind that are both there, or else either.
    """
    rng = np.random.default_rng((exam.SEED, 5))
    for _ in range(scenes):
        drawing = render.draw(sample.sample_scene(rng), rng)
        assert isinstance(drawing.picture, Scene)
        there = [(shape.colour, shape.kind) for shape in drawing.picture.shapes]
        if not there:
            continue
        absent = [sort for sort in product(COLOURS, SHAPES) if sort not in there]
        colours, kinds = ({sort[part] for sort in there} for part in (0, 1))
        near = [sort for sort in absent if sort[0] in colours and sort[1] in kinds]
        near = near or [sort for sort in absent if sort[0] in colours or sort[1] in kinds]
        sorts = pick(rng, there), pick(rng, there), pick(rng, absent), pick(rng, near)
        answers = "yes", "yes", "no", "no"
        yield (
            drawing.image,
            [{"shows": " ".join(s), "answer": a} for s, a in zip(sorts, answers, strict=True)],
        )


def write(folder: Path, each: int = 100, scenes: int = 180) -> None:
    """Write the images and `data.json`: about `each` choices a kind, four statements a scene."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number, (image, fields) in enumerate([*choices(each), *statements(scenes)]):
        image.save(folder / (name := f"{number:05}.png"))
        records += [{"image": name, **more} for more in fields]
    (folder / "data.json").write_text(json.dumps(records), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    write(parser.parse_args(arguments).folder)


if __name__ == "__main__":
    main()
