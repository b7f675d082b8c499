"""Writes the files of data sets for tests of loading."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SHORT = "Answer the question using a single word or phrase."


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON Lines file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


def touch_images(folder: Path, *names: str) -> None:
    """Make empty files in place of images: loading does not open them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def answers_of(*texts: str) -> list[dict[str, Any]]:
    """Return annotators' answers as VQA's and VizWiz's files have them."""
    return [
        {"answer": text, "answer_confidence": "yes", "answer_id": number}
        for number, text in enumerate(texts, 1)
    ]
