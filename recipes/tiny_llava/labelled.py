"""Labelled images for `llava-tools calibrate`: `python -m recipes.tiny_llava.labelled FOLDER`.

They have seeds of their own, which no training, examination or benchmark uses.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.drawn_questions import KINDS, choice_question, existence_questions
from llava_tools.images import ImageRef

#: The first seed of the images.
FIRST = 3_000_000


def write(folder: Path, each: int = 100, scenes: int = 180) -> None:
    """Write images and `data.json`: about `each` choices a kind, four statements a scene."""
    found: list[tuple[ImageRef, dict[str, Any]]] = []
    for kind in KINDS:
        for seed in range(FIRST, FIRST + each):
            if (one := choice_question("training", kind, seed)) is not None:
                fields = {"question": one.question, "labels": one.labels, "answer": one.answer}
                found.append((one.image, fields))
    for question in existence_questions("training", FIRST, scenes):
        # What is there, and as often what is not: any thing, or one like those that are there.
        if question.setting in ("there", ("random", "adversarial")[question.seed % 2]):
            answer = "yes" if question.setting == "there" else "no"
            found.append((question.image, {"shows": question.thing, "answer": answer}))
    folder.mkdir(parents=True, exist_ok=True)
    for image, _ in found:
        (folder / f"{image.handle}.png").write_bytes(image.data)
    records = [{"image": f"{image.handle}.png", **fields} for image, fields in found]
    (folder / "data.json").write_text(json.dumps(records), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)
