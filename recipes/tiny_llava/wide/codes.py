"""What every patch should say of writing, charts and pages; boxes of shapes, too.

Further attributes after those of :mod:`~recipes.tiny_llava.patches`, whose codes they leave as
they were. A patch has three slots beside each other. A slot says which character has its middle
there (softly shared where that lies on a border) and which one of its line it is, from 0: so to
read the next character is to look for the next number. Of bars, the middle patches say where they
end and which one is tallest and shortest; a bar's label says the latter, too. Of pages, patches
say what belongs to title, total and stamp, and where lines begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from recipes.tiny_llava.world import COLOURS, Scene

from .cells import GRID, SOFT, Floats, covered, near, outer, soft_cells
from .render import Glyph, Sheet
from .sample import ems
from .things import MOST_GLYPHS, ROLES, Bar, Chart, Line, Page, Stamp, Stroke, Wide

Box = tuple[float, float, float, float]

Spot = tuple[int, int]
"""A patch, 0–63, and a slot in it, 0–2."""

SLOTS = 3
GLYPHS = "abcdefghijklmnopqrstuvwxyz0123456789.,$"
KNOTS = 11
"""Places in tenths, at which edges of boxes are said: the first digit is the lower of two."""
EDGES = ("left", "top", "right", "bottom")
BAR_PARTS = ("bar", "bar's end", "tallest", "shortest")
PAGE_PARTS = ("line begins above", "line begins below")

WIDE_ATTRIBUTES = (
    *(
        f"{name} in slot {slot}"
        for slot in range(SLOTS)
        for name in (*(f"glyph {letter}" for letter in GLYPHS), "capital")
    ),
    *(f"number {index} in slot {slot}" for slot in range(SLOTS) for index in range(MOST_GLYPHS)),
    *(f"part of {role}" for role in ROLES),
    *BAR_PARTS,
    *PAGE_PARTS,
    *(f"{edge} near {knot}" for edge in EDGES for knot in range(KNOTS)),
)
_STEP = len(GLYPHS) + 1
INDEX = SLOTS * _STEP
ROLE = INDEX + SLOTS * MOST_GLYPHS
_BAR = ROLE + len(ROLES)
_PAGE = _BAR + len(BAR_PARTS)
EDGE = _PAGE + len(PAGE_PARTS)

_PLACE = {letter: index for index, letter in enumerate(GLYPHS)}


def glyph_labels(weights: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which character each slot holds and which one of its line: two (64, 3) int64.

    Characters count from 1 in ``GLYPHS``, 0 is an empty slot, −100 one that is shared with a
    neighbour; numbers count from 0 and are −100 where there is no character.
    """
    said = weights[:, :INDEX].reshape(-1, SLOTS, _STEP)[..., :-1]
    most = said.max(axis=-1)
    letters = np.where(most > 0.6, said.argmax(axis=-1) + 1, np.where(most < 0.05, 0, -100))
    order = weights[:, INDEX:ROLE].reshape(-1, SLOTS, MOST_GLYPHS).argmax(axis=-1)
    return letters, np.where(letters > 0, order, -100)


def guessed(scene: Wide) -> tuple[Glyph, ...]:
    """Roughly where each character of a picture would come to stand if it were drawn."""
    glyphs = []
    for line in scene.lines:
        steps = [ems(letter) for letter in line.text]
        scale = min(line.height / 0.7, line.width / sum(steps))
        left = line.x - sum(steps) * scale / 2
        for index, (letter, step) in enumerate(zip(line.text, steps, strict=True)):
            glyphs.append(Glyph(letter, left + step * scale / 2, line.y, index, line))
            left += step * scale
    return tuple(glyphs)


def places(scene: Wide, line: Line) -> list[Spot]:
    """In which patch and slot each character of a line would stand: as many as it has."""
    left, top = (1 - scene.width) / 2, (1 - scene.height) / 2
    spots = []
    for glyph in guessed(scene):
        if glyph.line is line:
            row = near((glyph.y + top) * GRID, SOFT, GRID)[0][0]
            place = near((glyph.x + left) * GRID * SLOTS, 0.21, GRID * SLOTS)[0][0]
            spots.append((row * GRID + place // SLOTS, place % SLOTS))
    return spots


def say_wide(weights: Floats, colours: Floats, scene: Wide, sheet: Sheet | None = None) -> None:
    """Write what the patches say into ``weights``, (64, ``WIDE_ATTRIBUTES``) float32 zeros.

    Args:
        weights: Zeros; holds weights in 0–1 afterwards.
        colours: The patches' colours, (64, 10) float32, into which inks and bars are written.
        scene: What the picture shows.
        sheet: Its drawing; without it, characters' places are guessed.
    """
    offset = (1 - scene.width) / 2, (1 - scene.height) / 2
    if isinstance(scene, Chart):
        for bar in scene.bars:
            _say_bar(weights, colours, scene, bar, offset)
    elif isinstance(scene, Page):
        _say_page(weights, colours, scene, offset)
    _say_glyphs(weights, colours, sheet.glyphs if sheet else guessed(scene), offset)
    if isinstance(scene, Chart):
        _say_labels(weights, scene, offset)


def _say_glyphs(
    weights: Floats, colours: Floats, glyphs: Iterable[Glyph], offset: tuple[float, float]
) -> None:
    for glyph in glyphs:
        line, capital = glyph.line, glyph.letter.isupper()
        letter = _PLACE[glyph.letter.lower()]
        role, colour = ROLE + ROLES.index(line.role), COLOURS.index(line.colour)
        places = near((glyph.x + offset[0]) * GRID * SLOTS, 0.21, GRID * SLOTS)
        for row, down in near((glyph.y + offset[1]) * GRID, SOFT, GRID):
            for place, across in places:
                patch, slot = row * GRID + place // SLOTS, place % SLOTS
                share = down * across
                weights[patch, slot * _STEP + letter] += share
                weights[patch, slot * _STEP + _STEP - 1] += share * capital
                weights[patch, INDEX + slot * MOST_GLYPHS + glyph.index] += share
                weights[patch, role] = max(weights[patch, role], share)
                colours[patch, colour] = max(colours[patch, colour], share)
    np.minimum(weights, 1, out=weights)


def _say_bar(
    weights: Floats, colours: Floats, chart: Chart, bar: Bar, offset: tuple[float, float]
) -> None:
    x, base = bar.x + offset[0], chart.base + offset[1]
    down, middle = covered(base - bar.height, base), soft_cells(x)
    share = outer(down, covered(x - bar.width / 2, x + bar.width / 2))
    said = np.maximum(share, outer(down, middle))
    weights[:, _BAR] = np.maximum(weights[:, _BAR], said)
    weights[:, _BAR + 1] += outer(soft_cells(base - bar.height), middle)
    index = COLOURS.index(bar.colour)
    colours[:, index] = np.maximum(colours[:, index], said)
    for part, outstanding in ((2, chart.tallest), (3, chart.shortest)):
        if bar is outstanding:
            weights[:, _BAR + part] += outer(down, middle)


def _say_labels(weights: Floats, chart: Chart, offset: tuple[float, float]) -> None:
    for part, bar in ((2, chart.tallest), (3, chart.shortest)):
        if bar.label is not None:
            row = soft_cells(bar.label.y + offset[1])
            weights[:, _BAR + part] += outer(row, soft_cells(bar.x + offset[0]))


def _say_page(weights: Floats, colours: Floats, page: Page, offset: tuple[float, float]) -> None:
    for stroke in page.strokes:
        _say_beginning(weights[:, _PAGE:EDGE], stroke, offset)
    if page.stamp is not None:
        _say_stamp(weights, colours, page.stamp, offset)


def _say_beginning(weights: Floats, stroke: Stroke, offset: tuple[float, float]) -> None:
    """Add where a line begins, a column for the upper and one for the lower half of patches."""
    column = near((stroke.x + 0.05 + offset[0]) * GRID, SOFT, GRID)
    for place, down in near((stroke.y + offset[1]) * GRID * 2, 0.21, GRID * 2):
        for cell, across in column:
            weights[place // 2 * GRID + cell, place % 2] += down * across


def where(scene: Wide, kind: str, named: Bar | None = None) -> Floats | None:
    """Where the things lie that a question of a kind is about, one in all for each: (64,) float32.

    All bars or all lines that are counted, the tallest or the shortest bar, the ``named`` one, the
    stamp; ``None`` for other kinds.
    """
    offset = (1 - scene.width) / 2, (1 - scene.height) / 2
    found = np.zeros((GRID * GRID, len(PAGE_PARTS)), np.float32)
    if isinstance(scene, Chart) and kind in (
        "count bars",
        "tallest",
        "shortest",
        "bar's colour",
    ):
        one = {"tallest": scene.tallest, "shortest": scene.shortest}.get(kind, named)
        for bar in scene.bars if one is None else (one,):
            top = soft_cells(scene.base - bar.height + offset[1])
            found[:, 0] += outer(top, soft_cells(bar.x + offset[0]))
    elif isinstance(scene, Page) and kind == "count lines":
        for stroke in scene.strokes:
            _say_beginning(found, stroke, offset)
    elif isinstance(scene, Page) and kind in ("stamp", "stamp there"):
        if (stamp := scene.stamp) is not None:
            found[:, 0] = outer(soft_cells(stamp.y + offset[1]), soft_cells(stamp.x + offset[0]))
    else:
        return None
    total: Floats = found.sum(axis=1)
    return total


def _say_stamp(weights: Floats, colours: Floats, stamp: Stamp, offset: tuple[float, float]) -> None:
    x, y = stamp.x + offset[0], stamp.y + offset[1]
    wide, tall = stamp.width / 2, stamp.height / 2
    share = outer(covered(y - tall, y + tall), covered(x - wide, x + wide))
    weights[:, ROLE + ROLES.index("stamp")] = share
    index = COLOURS.index(stamp.colour)
    colours[:, index] = np.maximum(colours[:, index], 0.7 * share)


def say_boxes(weights: Floats, spots: Iterable[Sequence[float]], boxes: Iterable[Box]) -> None:
    """Write the shapes' boxes into the patches that hold their centres.

    An edge is said by the two nearest tenths of the square, by how near they are, and at full
    strength in every patch that has a quarter of the centre: a place that is said half as loud
    would be another place. Of two centres, a patch tells the one of which it has more.

    Args:
        weights: (64, ``WIDE_ATTRIBUTES``) float32, written to.
        spots: The shapes' centres on the padded square.
        boxes: Their left, top, right and bottom on the padded square, in 0–1.
    """
    heard = np.zeros(GRID * GRID)
    for (x, y), box in zip(spots, boxes, strict=True):
        said = np.zeros(len(EDGES) * KNOTS, np.float32)
        for at, edge in enumerate(box):
            place = min(max(edge, 0.0), 1.0) * (KNOTS - 1)
            low = min(int(place), KNOTS - 2)
            said[at * KNOTS + low] = 1 - (place - low)
            said[at * KNOTS + low + 1] = place - low
        for row, down in near(y * GRID, SOFT, GRID):
            for column, across in near(x * GRID, SOFT, GRID):
                patch, share = row * GRID + column, down * across
                if share > heard[patch]:
                    heard[patch] = share
                    weights[patch, EDGE:] = min(1.0, 4 * share) * said


def box_spot(box: Box) -> Spot:
    """The patch that tells a box: the one with its middle. In its first slot, as if read there."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return near(y * GRID, SOFT, GRID)[0][0] * GRID + near(x * GRID, SOFT, GRID)[0][0], 0


def boxes_of(scene: Scene) -> list[Box]:
    """Each shape's box on the padded square, as drawn or else as most are drawn."""
    left, top = (1 - scene.width) / 2, (1 - scene.height) / 2
    boxes = []
    for shape in scene.shapes:
        half = shape.radius * (0.78 if shape.kind == "square" else 0.92)
        x, y = shape.x, shape.y
        drawn = shape.box or (x - half, y - half, x + half, y + half)
        boxes.append((drawn[0] + left, drawn[1] + top, drawn[2] + left, drawn[3] + top))
    return boxes


def mistake(weights: Floats, rng: np.random.Generator, share: float = 0.08) -> None:
    """Blur what a share of the slots say, as an imperfect eye does: another character or number."""
    order = weights[:, INDEX:ROLE].reshape(-1, SLOTS, MOST_GLYPHS)
    for patch, slot in zip(*np.nonzero(order.max(axis=-1) > 0.3), strict=True):
        if rng.random() >= share:
            continue
        lost = np.float32(rng.uniform(0, 0.45))
        at = slot * _STEP if rng.random() < 0.6 else INDEX + slot * MOST_GLYPHS
        size = len(GLYPHS) if at < INDEX else MOST_GLYPHS
        other = int(rng.integers(size))
        if at >= INDEX:
            beside = int(order[patch, slot].argmax()) + (1 if lost > 0.2 else -1)
            other = min(max(beside, 0), size - 1)
        weights[patch, at : at + size] *= 1 - lost
        weights[patch, at + other] += lost
