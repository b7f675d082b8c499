"""What each patch of a picture shows, as class labels: the truth of an 8 x 8 grid.

`labels` says it of a drawing or, with guessed outlines and characters, of a picture that nobody has
drawn yet. The vision tower learns to name these classes through heads that are thrown away; the
language model learns to answer from them before it is joined to a vision tower.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .render import polygon
from .sample import ems
from .things import (
    COLOURS,
    ROLES,
    SHAPES,
    Bar,
    Box,
    Chart,
    Glyph,
    Line,
    Page,
    Picture,
    Point,
    Scene,
    Stroke,
)

Labels = NDArray[np.int64]

GRID = 8
"""Patches along each side of the padded square."""
FINE = 7
"""Parts of a patch along each side, in which outlines are traced."""
SLOTS = 3
"""Places for characters in a patch, from left to right."""
CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,$"
EDGES = 28
"""Steps in which the edges of a shape's box are given."""
#: Words for the classes of each group, "" where there is none; class 0 is nothing of the kind.
CLASSES: dict[str, tuple[str, ...]] = {
    "shape": ("", *SHAPES),
    "colour": ("", *COLOURS),
    "ground": ("", *COLOURS, ""),
    "middle": ("",) * 2,
    **{f"character {slot}": ("", *CHARACTERS) for slot in range(SLOTS)},
    **{f"index {slot}": ("",) * 11 for slot in range(SLOTS)},
    "role": ("",) * (1 + len(ROLES)),
    "bar": ("",) * 6,
    "standing": ("",) * 3,
    "stroke": ("",) * 4,
    **dict.fromkeys(("left", "top", "right", "bottom"), ("",) * (2 + EDGES)),
}
GROUPS: dict[str, int] = {name: len(words) for name, words in CLASSES.items()}
"""Number of classes of each group.

`middle` is that of a shape, at which also its box's edges are given; `index` is a character's place
in its line; `bar` is a bar's body (1) or its top, by the quarter of the patch (2 to 5); `standing`
is the tallest (1) or shortest (2) bar; `stroke` is the start of a line too small to read in the
upper (1) or lower (2) half of the patch or in both (3).
"""
_COLUMN = {name: index for index, name in enumerate(GROUPS)}
_LEAST = 0.12
"""Share of a patch from which on a shape or bar is noticed in it."""


def labels(
    picture: Picture,
    outlines: Sequence[Sequence[Point]] = (),
    glyphs: Iterable[Glyph] = (),
) -> Labels:
    """Return the class of every patch, row by row, in each of `GROUPS`: int64 (64, groups).

    Args:
        picture: What is drawn, or would be.
        outlines: Polygons of a scene's shapes as drawn; guessed without.
        glyphs: The characters as drawn; guessed without.
    """
    cells = np.zeros((GRID * GRID, len(GROUPS)), np.int64)
    ground = len(COLOURS) if picture.background is None else COLOURS.index(picture.background)
    cells[:, _COLUMN["ground"]] = np.where(_inside(picture), ground + 1, 0)
    if isinstance(picture, Scene):
        _mark_shapes(cells, picture, outlines or _guess_outlines(picture))
        return cells
    if isinstance(picture, Chart):
        for bar in picture.bars:
            _mark_bar(cells, picture, bar)
    elif isinstance(picture, Page):
        _mark_page(cells, picture)
    _mark_glyphs(cells, picture, tuple(glyphs) or _guess_glyphs(picture.lines))
    return cells


def owners(picture: Scene, outlines: Sequence[Sequence[Point]]) -> NDArray[np.uint8]:
    """Return which shape, from 1, covers each part of each patch: uint8 (64, 49)."""
    side = GRID * FINE
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    left, top = picture.offset
    for index, outline in enumerate(outlines):
        pen.polygon([((x + left) * side, (y + top) * side) for x, y in outline], fill=index + 1)
    tiles = np.asarray(image).reshape(GRID, FINE, GRID, FINE).swapaxes(1, 2)
    return tiles.reshape(GRID * GRID, FINE * FINE)


def _guess_outlines(scene: Scene) -> list[list[Point]]:
    return [list(polygon(shape.kind, shape.x, shape.y, shape.radius)) for shape in scene.shapes]


def _guess_glyphs(lines: Iterable[Line]) -> tuple[Glyph, ...]:
    glyphs = []
    for line in lines:
        steps = [ems(letter) for letter in line.text]
        scale = min(line.height / 0.7, line.width / sum(steps))
        left = line.x - sum(steps) * scale / 2
        for index, (letter, step) in enumerate(zip(line.text, steps, strict=True)):
            glyphs.append(Glyph(letter, left + step * scale / 2, line.y, index, line))
            left += step * scale
    return tuple(glyphs)


def _inside(picture: Picture) -> NDArray[np.bool_]:
    """Return which patches' centres lie on the canvas rather than on its padding: (64,)."""
    apart = np.abs((np.arange(GRID) + 0.5) / GRID - 0.5)
    return np.outer(apart < picture.height / 2, apart < picture.width / 2).reshape(-1)


def _patch(x: float, y: float) -> int:
    """Return the patch at padded coordinates."""
    column, row = (min(max(int(at * GRID), 0), GRID - 1) for at in (x, y))
    return row * GRID + column


def _covered(box: Box) -> NDArray[np.float64]:
    """Return how much of each patch a box in padded coordinates covers: (64,) in 0-1."""
    cells = np.arange(GRID)
    across, down = (
        np.clip(np.minimum(high * GRID, cells + 1) - np.maximum(low * GRID, cells), 0, 1)
        for low, high in ((box[0], box[2]), (box[1], box[3]))
    )
    return np.outer(down, across).reshape(-1)


def _mark_shapes(cells: Labels, scene: Scene, outlines: Sequence[Sequence[Point]]) -> None:
    owner = owners(scene, outlines)
    shares = np.stack([(owner == index + 1).mean(axis=1) for index in range(len(outlines))] or [[]])
    left, top = scene.offset
    for index, (shape, outline) in enumerate(zip(scene.shapes, outlines, strict=True)):
        here = (shares[index] >= _LEAST) & (shares.argmax(axis=0) == index)
        xs, ys = zip(*outline, strict=True)
        box = min(xs) + left, min(ys) + top, max(xs) + left, max(ys) + top
        middle = _patch((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        here[middle] = True
        cells[here, _COLUMN["shape"]] = 1 + SHAPES.index(shape.kind)
        cells[here, _COLUMN["colour"]] = 1 + COLOURS.index(shape.colour)
        cells[middle, _COLUMN["middle"]] = 1
        for edge, at in zip(("left", "top", "right", "bottom"), box, strict=True):
            cells[middle, _COLUMN[edge]] = 1 + round(min(max(at, 0.0), 1.0) * EDGES)


def _mark_bar(cells: Labels, chart: Chart, bar: Bar) -> None:
    left, top = chart.offset
    x, base = bar.x + left, chart.base + top
    share = _covered((x - bar.width / 2, base - bar.height, x + bar.width / 2, base))
    end = _patch(x, base - bar.height)
    here = share >= _LEAST
    here[end] = True
    standing = 1 if bar is chart.tallest else 2 if bar is chart.shortest else 0
    cells[here, _COLUMN["colour"]] = 1 + COLOURS.index(bar.colour)
    cells[here, _COLUMN["bar"]] = 1
    cells[here, _COLUMN["standing"]] = standing
    cells[end, _COLUMN["bar"]] = 2 + int((base - bar.height) * GRID * 4) % 4
    if bar.label is not None:
        cells[_patch(bar.label.x + left, bar.label.y + top), _COLUMN["standing"]] = standing


def _mark_page(cells: Labels, page: Page) -> None:
    left, top = page.offset
    for stroke in page.strokes:
        _mark_stroke(cells, stroke, left, top)
    if (stamp := page.stamp) is not None:
        x, y = stamp.x + left, stamp.y + top
        wide, tall = stamp.width / 2, stamp.height / 2
        here = _covered((x - wide, y - tall, x + wide, y + tall)) >= 0.3
        cells[here, _COLUMN["role"]] = 1 + ROLES.index("stamp")
        cells[here, _COLUMN["colour"]] = 1 + COLOURS.index(stamp.colour)


def _mark_stroke(cells: Labels, stroke: Stroke, left: float, top: float) -> None:
    y = stroke.y + top
    patch = _patch(stroke.x + 0.05 + left, y)
    cells[patch, _COLUMN["stroke"]] |= 1 + int(y * GRID * 2) % 2


def _mark_glyphs(cells: Labels, picture: Picture, glyphs: Iterable[Glyph]) -> None:
    left, top = picture.offset
    for glyph in glyphs:
        patch = _patch(glyph.x + left, glyph.y + top)
        slot = int(min(max(glyph.x + left, 0.0), 0.999) * GRID * SLOTS) % SLOTS
        cells[patch, _COLUMN[f"character {slot}"]] = 1 + CHARACTERS.index(glyph.letter)
        cells[patch, _COLUMN[f"index {slot}"]] = 1 + min(glyph.index, 9)
        cells[patch, _COLUMN["role"]] = 1 + ROLES.index(glyph.line.role)
        cells[patch, _COLUMN["colour"]] = 1 + COLOURS.index(glyph.line.colour)
