"""What all writers share: JSON, lines of JSON, images, and the series of drawn images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from recipes.drawn_benchmarks.scenes import DrawnItem, draw_item

#: What LLaVA 1.5 adds to a question that has a short answer.
SHORT = "Answer the question using a single word or phrase."
#: What it adds to one with options.
LETTER = "Answer with the option's letter from the given choices directly."
LETTERS = "ABCD"


def write_json(path: Path, value: object) -> None:
    """Write a JSON file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write a file with a JSON object on each line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(record, ensure_ascii=False) for record in records)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_image(path: Path, image: Image.Image) -> None:
    """Write an image in the format of its suffix; one without a suffix is a JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        image.save(path, "PNG")
    else:
        image.save(path, "JPEG", quality=95)


def items(kinds: Sequence[str], seed: int) -> Iterator[DrawnItem]:
    """Draw images without end, of the kinds in turn."""
    number = 0
    while True:
        yield draw_item(kinds[number % len(kinds)], seed + number)
        number += 1


def question_line(name: str | int, image: str, text: str, category: str | int) -> dict[str, Any]:
    """Return a line of LLaVA's question files."""
    return {"question_id": name, "image": image, "text": text, "category": category}
