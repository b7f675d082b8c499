"""Questions about shapes, one function a kind.

Each function takes a scene and a generator. It returns the question's words and its answer, or
None where the scene leaves nothing unambiguous to ask.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .things import COLOURS, SHAPES, Box, Canvas, Scene, Shape
from .words import an, load, phrase, pick, plural, singular

#: The nine places of a picture, by row and column.
PLACES = (
    ("top left", "top", "top right"),
    ("left", "center", "right"),
    ("bottom left", "bottom", "bottom right"),
)
#: The highest number of shapes that a question asks to count.
MOST = 6

#: Words and answer of a question; for the kind `box` also the box.
Said = tuple[str, str] | tuple[str, str, Box]
#: What asks about a picture of some type.
Asker = Callable[[Any, np.random.Generator], Said | None]
#: A colour and a kind of shape; None stands for any.
Sort = tuple[str | None, str | None]

#: Words of a relation that ask whether the first shape comes before the second one.
_BEFORE = {"left", "above", "over", "higher", "top"}


def say(rng: np.random.Generator, key: str, **slots: str) -> str:
    """Return a phrasing of the section `key` of `data/phrasings.txt`, its slots filled."""
    return phrase(rng, load("phrasings")[key], slots)


def alone(scene: Scene, by: str) -> list[Shape]:
    """Return the shapes that `by` (`kind` or `colour`) names without doubt about the other."""
    other = "colour" if by == "kind" else "kind"
    values: dict[str, set[str]] = {}
    for shape in scene.shapes:
        values.setdefault(getattr(shape, by), set()).add(getattr(shape, other))
    return [shape for shape in scene.shapes if len(values[getattr(shape, by)]) == 1]


def _either(rng: np.random.Generator, true: str, among: Sequence[str]) -> dict[str, str]:
    pair = [true, pick(rng, [name for name in among if name != true])]
    rng.shuffle(pair)
    return {"first": pair[0], "second": pair[1]}


def ask_colour(scene: Scene, rng: np.random.Generator) -> Said | None:
    """Ask for the colour of a kind of shape that has a single one."""
    if not (sure := alone(scene, "kind")):
        return None
    shape, style = pick(rng, sure), rng.random()
    if scene.count(kind=shape.kind) > 1 or style > 0.95:
        return say(rng, "colour of many", things=plural(rng, shape.kind)), shape.colour
    lone = len(scene.shapes) == 1 and style < 0.4
    thing = say(rng, "object") if lone else singular(rng, shape.kind)
    if style > 0.9:
        slots = _either(rng, shape.colour, COLOURS)
        return say(rng, "colour either", thing=thing, **slots), shape.colour
    return say(rng, "colour", thing=thing), shape.colour


def ask_shape(scene: Scene, rng: np.random.Generator) -> Said | None:
    """Ask for the kind of the shapes of a colour that has a single one."""
    style = rng.random()
    if len(scene.shapes) == 1 and style < 0.4:
        return say(rng, "shape alone"), scene.shapes[0].kind
    if not (sure := alone(scene, "colour")):
        return None
    shape = pick(rng, sure)
    if style > 0.93:
        slots = _either(rng, shape.kind, SHAPES)
        return say(rng, "shape either", colour=shape.colour, **slots), shape.kind
    return say(rng, "shape", colour=shape.colour), shape.kind


def ask_count(by_colour: bool, by_kind: bool) -> Asker:
    """Return what asks for the number of shapes, of those of a colour, a kind or both."""

    def count(scene: Scene, rng: np.random.Generator) -> Said | None:
        shape = _example(scene, rng)
        other = shape if rng.random() < 0.7 else _example(scene, rng)
        colour, kind = shape.colour if by_colour else None, other.kind if by_kind else None
        if (number := scene.count(colour, kind)) > MOST:
            return None
        style = rng.random()
        thing = singular if style > 0.96 else plural
        if style < 0.12 and by_colour != by_kind:
            which = colour or thing(rng, other.kind)
            return say(rng, "count of", which=which), str(number)
        things = thing(rng, kind) if kind else say(rng, "objects")
        return say(rng, "count", things=f"{colour or ''} {things}".strip()), str(number)

    return count


def _example(scene: Scene, rng: np.random.Generator) -> Shape:
    """Return a shape of the scene in most cases, else any."""
    if scene.shapes and rng.random() < 0.86:
        return pick(rng, scene.shapes)
    return Shape(pick(rng, SHAPES), pick(rng, COLOURS), 0, 0, 0)


def ask_exist(scene: Scene, rng: np.random.Generator) -> Said | None:
    """Ask whether there is a shape; a coin decides on yes or no first, so no words hint at it."""
    yes = bool(rng.random() < 0.5)
    if yes and not scene.shapes:
        return None
    while True:
        style = rng.random()
        if style > 0.88 and (sure := alone(scene, "kind")):
            return _verify(scene, pick(rng, sure), rng, yes)
        near = scene.shapes if yes or rng.random() < 0.75 else ()
        colours = [shape.colour for shape in near] or COLOURS
        kinds = [shape.kind for shape in near] or SHAPES
        sorts: list[Sort] = [(colour, kind) for colour in colours for kind in kinds]
        if style < 0.38:
            sorts = [(None, kind) for kind in SHAPES]
        elif style < 0.58:
            sorts = [(colour, None) for colour in COLOURS]
        if fitting := [sort for sort in sorts if bool(scene.count(*sort)) == yes]:
            return _exist_text(scene, rng, pick(rng, fitting)), "yes" if yes else "no"


def _exist_text(scene: Scene, rng: np.random.Generator, sort: Sort) -> str:
    colour, kind = sort
    lead = f"{colour} " if colour else ""
    one = lead + (singular(rng, kind) if kind else say(rng, "object"))
    style = rng.random()
    if style < 0.28:
        things = plural(rng, kind) if kind else say(rng, "objects")
        return say(rng, "exist many", things=lead + things)
    if kind and style < 0.35:
        return say(rng, "exist the", the=f"the {one}")
    if kind and style < 0.42:
        return say(rng, "exist quoted", what=pick(rng, (f"the {one}", an(one), one)))
    # "Anything white" may also mean the background.
    clear = colour is None or scene.background not in (None, colour)
    if style < 0.5 and clear and None in sort:
        return say(rng, "exist of", which=colour or an(one))
    if style < 0.7 and clear and colour and not kind:
        return say(rng, "exist", a=say(rng, "exist colour", colour=colour))
    return say(rng, "exist", a=an(one) if rng.random() < 0.94 else f"any {one}")


def _verify(scene: Scene, shape: Shape, rng: np.random.Generator, yes: bool) -> Said:
    """Ask whether a shape that its kind names has this colour."""
    others = [name for name in COLOURS if name != shape.colour]
    near = [s.colour for s in scene.shapes if s.colour != shape.colour]
    wrong = pick(rng, near if near and rng.random() < 0.7 else others)
    colour = shape.colour if yes else wrong
    templates = load("phrasings")["verify"]
    if len({s.kind for s in scene.shapes if s.colour == colour}) != 1:
        templates = tuple(text for text in templates if "<kind>" not in text)
    slots = {"thing": singular(rng, shape.kind), "colour": colour, "kind": shape.kind}
    return phrase(rng, templates, slots), "yes" if yes else "no"


def ask_background(canvas: Canvas, rng: np.random.Generator) -> Said | None:
    """Ask for the background's colour, of a picture of any type; None if no name fits it."""
    if canvas.background is None:
        return None
    templates = load("phrasings")["background"]
    if not isinstance(canvas, Scene):  # words that would be false where there are no shapes
        templates = tuple(text for text in templates if "object" not in text.lower())
    return phrase(rng, templates), canvas.background


def _told(scene: Scene, shape: Shape, rng: np.random.Generator) -> str | None:
    """Return words that name this shape alone: its kind, or colour and kind."""
    if scene.count(kind=shape.kind) == 1 and rng.random() < 0.8:
        return singular(rng, shape.kind)
    sure = scene.count(shape.colour, shape.kind) == 1
    return f"{shape.colour} {singular(rng, shape.kind)}" if sure else None


def ask_relation(scene: Scene, rng: np.random.Generator) -> Said | None:
    """Ask whether a shape is left of, right of, above or below another, or which of two is."""
    named = [(shape, told) for shape in scene.shapes if (told := _told(scene, shape, rng))]
    if len(named) < 2:
        return None
    (one, first), (two, second) = (named[i] for i in rng.choice(len(named), size=2, replace=False))
    which = one.kind != two.kind and bool(rng.random() < 0.35)
    text = say(rng, "relation which" if which else "relation", first=first, second=second)
    said = set(text.replace(",", " ").split())
    gap = (two.x - one.x) if said & {"left", "right"} else (two.y - one.y)
    if abs(gap) < 0.1:
        return None
    holds = (gap > 0) == bool(said & _BEFORE)
    if which:
        return text, one.kind if holds else two.kind
    return text, "yes" if holds else "no"


def place(scene: Scene, shape: Shape, margin: float = 0.0) -> str | None:
    """Return in which of `PLACES` the shape is.

    None: its centre is nearer to the border of a place than `margin` (1 is a place's size).
    """
    x, y = shape.x / scene.width * 3, shape.y / scene.height * 3
    if any(abs(spot - line) < margin for spot in (x, y) for line in (1, 2)):
        return None
    return PLACES[min(2, int(y))][min(2, int(x))]


def ask_position(scene: Scene, rng: np.random.Generator) -> Said | None:
    """Ask in which of `PLACES` a shape is; not where it is near the border of a place."""
    named = [
        (told, where)
        for shape in scene.shapes
        if (told := _told(scene, shape, rng)) and (where := place(scene, shape, 0.12))
    ]
    if not named:
        return None
    told, where = pick(rng, named)
    return say(rng, "position", thing=told), where


def ask_box(scene: Scene, rng: np.random.Generator) -> Said | None:
    """Ask for the box of a shape that a kind, a colour or both name alone."""
    if not scene.shapes:
        return None
    shape = pick(rng, scene.shapes)
    told = f"{shape.colour} shape" if rng.random() < 0.3 else _told(scene, shape, rng)
    if told is None or (told.endswith(" shape") and scene.count(shape.colour) > 1):
        return None
    box = padded_box(scene, shape)
    return say(rng, "box", the=f"the {told}"), written_box(box), box


def padded_box(scene: Scene, shape: Shape) -> Box:
    """Return the shape's box in padded coordinates: as drawn, else as most are drawn."""
    half = shape.radius * (0.78 if shape.kind == "square" else 0.92)
    guess = shape.x - half, shape.y - half, shape.x + half, shape.y + half
    left, top, right, bottom = shape.box or guess
    x, y = scene.offset
    return left + x, top + y, right + x, bottom + y


def written_box(box: Box) -> str:
    """Return a box as LLaVA 1.5 writes it, two decimals a number: `[0.10, 0.25, 0.50, 0.75]`."""
    return "[" + ", ".join(f"{min(max(edge, 0.0), 1.0):.2f}" for edge in box) + "]"


def read_box(text: str) -> Box | None:
    """Return the box that an answer gives, None if it does not hold four numbers."""
    numbers = [float(number) for number in re.findall(r"\d*\.?\d+", text)]
    return (numbers[0], numbers[1], numbers[2], numbers[3]) if len(numbers) == 4 else None


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over union of two boxes, 0-1."""
    wide = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    tall = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [max(0.0, b[2] - b[0]) * max(0.0, b[3] - b[1]) for b in (first, second)]
    union = sum(areas) - wide * tall
    return wide * tall / union if union else 0.0
