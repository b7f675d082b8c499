"""A sheet of pictures with what was asked, said and true: right answers green, wrong ones red."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from .items import Item

COLUMNS = 6
CELL = (190, 230)
"""Width and height of a cell, pixels: a picture of 112 and five lines of words."""
_RIGHT, _WRONG, _INK = "#1a7f37", "#c62828", "#222222"


def sheet(items: Sequence[Item], said: Sequence[str], path: Path, most: int = 48) -> None:
    """Write a PNG of up to ``most`` answers, as many wrong as right ones where there are."""
    pairs = list(zip(items, said, strict=True))
    wrong = [pair for pair in pairs if pair[0].answer != pair[1]][: most // 2]
    right = [pair for pair in pairs if pair[0].answer == pair[1]]
    step = max(1, len(right) // (most - len(wrong)))  # from all kinds, which stand in order
    shown = wrong + right[::step][: most - len(wrong)]
    rows = -(-len(shown) // COLUMNS)
    image = Image.new("RGB", (COLUMNS * CELL[0], max(1, rows) * CELL[1]), "white")
    for place, (item, answer) in enumerate(shown):
        corner = place % COLUMNS * CELL[0], place // COLUMNS * CELL[1]
        _cell(image, corner, item, answer)
    image.save(path)


def _cell(image: Image.Image, corner: tuple[int, int], item: Item, said: str) -> None:
    ink = _RIGHT if said == item.answer else _WRONG
    image.paste(ImageOps.expand(item.image, border=3, fill=ink), (corner[0] + 8, corner[1] + 6))
    draw = ImageDraw.Draw(image)
    lines = [*textwrap.wrap(item.question, 28)[:4], f"> {said}"[:30]]
    if said != item.answer:
        lines.append(f"  ({item.answer})"[:30])
    for number, line in enumerate(lines):
        last = number >= len(lines) - 1 - (said != item.answer)
        at = corner[0] + 8, corner[1] + 130 + 14 * number
        draw.text(at, line, fill=ink if last else _INK)
