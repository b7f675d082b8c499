"""The data of the two stages: drawn images with captions and conversations, as LLaVA has them.

`write` fills a folder with `data.json`, in LLaVA's conversation JSON, and `images/`. Every record
has a seed of its own, so the data do not depend on how many processes draw.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import captions, questions, render, sample, tools
from .processes import run_all
from .things import Picture

Record = dict[str, Any]

#: Share of pictures with writing, a chart or a page; the others show shapes.
WIDE = 0.5
#: Questions that are drawn for a picture; repeats are dropped.
QUESTIONS = 7
#: One of so many conversations is about tools and has no image.
TOOLS_EVERY = 8
#: Records that a process draws at once.
CHUNK = 500


def align_record(number: int, images: Path) -> Record:
    """Draw an image into a folder, and return its caption as a record."""
    rng = np.random.default_rng((41, number))
    picture, file = _draw(number, images, rng)
    return _record(file, [("<image>", captions.describe(picture, rng))])


def tune_record(number: int, images: Path) -> Record:
    """Return a conversation: about an image, which is drawn into a folder, or with tools."""
    rng = np.random.default_rng((42, number))
    if number % TOOLS_EVERY == 0:
        return tools.conversation(rng).as_record(f"{number:06}")
    picture, file = _draw(number, images, rng)
    (question, answer), *others = ask_all(picture, rng)
    return _record(file, [(f"<image>\n{question}", answer), *others])


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


def _draw(number: int, images: Path, rng: np.random.Generator) -> tuple[Picture, str]:
    """Write a drawing at its own size; return its picture and the file's name."""
    drawing, file = render.draw(sample.sample(rng, wide=WIDE), rng), f"{number:06}.jpg"
    drawing.image.save(images / file, quality=95)
    return drawing.picture, file


def _record(file: str, exchanges: Iterable[tuple[str, str]]) -> Record:
    turns = [
        {"from": speaker, "value": text}
        for exchange in exchanges
        for speaker, text in zip(("human", "gpt"), exchange, strict=True)
    ]
    return {"id": file, "image": file, "conversations": turns}


#: What makes a record, by stage.
MAKERS: dict[str, Callable[[int, Path], Record]] = {"align": align_record, "tune": tune_record}


def write(folder: Path, stage: str, count: int) -> None:
    """Write `count` records of a stage; what a killed run left is kept.

    Args:
        folder: For `data.json` and `images/`.
        stage: One of `MAKERS`.
        count: Number of records.
    """
    if (folder / "data.json").exists():
        return
    for name in ("images", "parts"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    run_all(partial(_write_chunk, folder, stage), chunks)
    parts = (_part(folder, chunk).read_text(encoding="utf-8") for chunk in chunks)
    _write_json(folder / "data.json", [record for part in parts for record in json.loads(part)])


def _write_chunk(folder: Path, stage: str, chunk: range) -> None:
    path = _part(folder, chunk)
    if not path.exists():
        _write_json(path, [MAKERS[stage](number, folder / "images") for number in chunk])


def _part(folder: Path, chunk: range) -> Path:
    return folder / "parts" / f"{chunk.start}-{chunk.stop}.json"


def _write_json(path: Path, records: list[Record]) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    unfinished.replace(path)
