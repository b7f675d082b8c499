"""The data of LLaVA's two stages: drawn images with captions (align) and conversations (tune).

    python -m recipes.tiny_llava.records FOLDER align|tune COUNT

writes `FOLDER/images` and `FOLDER/data.json`, in LLaVA's conversation JSON. Each record has a seed
of its own, so a killed run resumes with the same data.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from . import captions, questions, render, sample, tools
from .things import Picture

Record = dict[str, Any]

#: Seeds of records begin with these numbers.
SEEDS = {"align": 41, "tune": 42}
#: Share of pictures with writing, a chart or a page; the others show shapes.
WIDE = 0.5
#: Questions that are drawn for a picture; repeats are dropped.
QUESTIONS = 7
#: One of so many conversations is about tools and has no image.
TOOLS_EVERY = 8


def make(stage: str, number: int, images: Path) -> Record:
    """Return a record of `align` or `tune`, and draw its image into a folder."""
    rng = np.random.default_rng((SEEDS[stage], number))
    if stage == "tune" and number % TOOLS_EVERY == 0:
        return tools.conversation(rng).as_record(f"{number:06}")
    drawing, file = render.draw(sample.sample(rng, wide=WIDE), rng), f"{number:06}.jpg"
    drawing.image.save(images / file, quality=95)
    if stage == "align":
        exchanges = [("", captions.describe(drawing.picture, rng))]
    else:
        exchanges = ask_all(drawing.picture, rng)
    turns = [
        {"from": speaker, "value": text}
        for exchange in exchanges
        for speaker, text in zip(("human", "gpt"), exchange, strict=True)
    ]
    turns[0]["value"] = f"<image>\n{turns[0]['value']}".strip()
    return {"id": file, "image": file, "conversations": turns}


def ask_all(picture: Picture, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Return one to `QUESTIONS` questions about a drawn picture, with their answers."""
    exchanges: list[tuple[str, str]] = []
    seen: set[tuple[str, str]] = set()
    for _ in range(QUESTIONS):
        question = questions.ask(picture, rng)
        assert question is not None  # without a kind it never is
        keys = {("text", question.text), (question.kind, question.answer)}
        if not keys & seen:
            exchanges.append((questions.spoken(question, rng), question.answer))
        seen |= keys
    return exchanges


def write(folder: Path, stage: str, count: int) -> None:
    """Write `count` records; finished ones are lines of `FOLDER/records.jsonl`."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    path = folder / "records.jsonl"
    path.touch()
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    lines = [line for line in lines if line.endswith("\n")]  # a kill may cut the last one
    path.write_text("".join(lines), encoding="utf-8")
    with path.open("a", buffering=1, encoding="utf-8") as file:
        for number in range(len(lines), count):
            file.write(json.dumps(make(stage, number, folder / "images")) + "\n")
    (folder / "data.json").write_text(
        f"[{','.join(path.read_text(encoding='utf-8').splitlines()[:count])}]", encoding="utf-8"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("stage", choices=tuple(SEEDS))
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    write(options.folder, options.stage, options.count)
