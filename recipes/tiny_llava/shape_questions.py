"""Questions about shapes: each function returns a question's words and its answer.

It returns None where the scene leaves nothing unambiguous to ask.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product

from numpy.random import Generator as Rng

from .things import COLOURS, SHAPES, Box, Scene, Shape
from .words import an, name, pick, say

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


def _name_alone(scene: Scene, shape: Shape, rng: Rng) -> str | None:
    """Return words that name this shape alone: its kind, or colour and kind."""
    if scene.count(kind=shape.kind) == 1 and rng.random() < 0.8:
        return name(rng, (None, shape.kind))
    sort = shape.colour, shape.kind
    return name(rng, sort) if scene.count(*sort) == 1 else None


def _clear(scene: Scene, by: str) -> list[Shape]:
    """Return the shapes whose `by` (`kind` or `colour`) leaves no doubt about the other."""
    same = [scene.count(**{by: getattr(shape, by)}) for shape in scene.shapes]
    both = [scene.count(shape.colour, shape.kind) for shape in scene.shapes]
    return [s for s, n, m in zip(scene.shapes, same, both, strict=True) if n == m]


def _either(rng: Rng, key: str, answer: str, among: Sequence[str], **slots: str) -> Said:
    """Ask which of two it is: the answer or another one."""
    pair = [answer, pick(rng, [other for other in among if other != answer])]
    rng.shuffle(pair)
    return say(rng, key, first=pair[0], second=pair[1], **slots), answer


def _colour(scene: Scene, rng: Rng) -> Said | None:
    """Ask for the colour of a kind of shape that has a single one."""
    if not (clear := _clear(scene, "kind")):
        return None
    shape, style = pick(rng, clear), rng.random()
    if scene.count(kind=shape.kind) > 1 or style > 0.95:
        return say(rng, "colour of many", things=name(rng, (None, shape.kind), True)), shape.colour
    alone = len(scene.shapes) == 1 and style < 0.4
    thing = name(rng, (None, None if alone else shape.kind))
    if style > 0.9:
        return _either(rng, "colour either", shape.colour, COLOURS, thing=thing)
    return say(rng, "colour", thing=thing), shape.colour


def _shape(scene: Scene, rng: Rng) -> Said | None:
    """Ask for the kind of the shapes of a colour that has a single one."""
    style = rng.random()
    if len(scene.shapes) == 1 and style < 0.4:
        return say(rng, "shape alone"), scene.shapes[0].kind
    if not (clear := _clear(scene, "colour")):
        return None
    shape = pick(rng, clear)
    if style > 0.93:
        return _either(rng, "shape either", shape.kind, SHAPES, colour=shape.colour)
    return say(rng, "shape", colour=shape.colour), shape.kind


def _count(by: str, scene: Scene, rng: Rng) -> Said | None:
    """Ask for the number of shapes, of those of a colour, a kind or both; most are there."""

    def example() -> Shape:
        if scene.shapes and rng.random() < 0.86:
            return pick(rng, scene.shapes)
        return Shape(pick(rng, SHAPES), pick(rng, COLOURS), 0, 0, 0)

    first = example()
    other = first if rng.random() < 0.7 else example()
    colour = first.colour if by in ("colour", "both") else None
    kind = other.kind if by in ("shape", "both") else None
    if (number := scene.count(colour, kind)) > MOST:
        return None
    style = rng.random()
    many = style <= 0.96 or kind is None
    if style < 0.12 and by in ("colour", "shape"):
        return say(rng, "count of", which=colour or name(rng, (None, kind), many)), str(number)
    return say(rng, "count", things=name(rng, (colour, kind), many)), str(number)


def _exist(scene: Scene, rng: Rng) -> Said | None:
    """Ask whether there is a shape; a coin decides on yes or no first, so no words hint at it."""
    yes = bool(rng.random() < 0.5)
    if yes and not scene.shapes:
        return None
    answer = "yes" if yes else "no"
    sorts: list[tuple[str | None, str | None]] = []
    while not sorts:
        style = rng.random()
        if style > 0.88 and (clear := _clear(scene, "kind")):
            return _verify(scene, pick(rng, clear), yes, rng), answer
        near = scene.shapes if yes or rng.random() < 0.75 else ()
        colours: Sequence[str | None] = [shape.colour for shape in near] or COLOURS
        kinds: Sequence[str | None] = [shape.kind for shape in near] or SHAPES
        if style < 0.38:
            colours, kinds = (None,), SHAPES
        elif style < 0.58:
            colours, kinds = COLOURS, (None,)
        sorts = [sort for sort in product(colours, kinds) if bool(scene.count(*sort)) == yes]
    colour, kind = sort = pick(rng, sorts)
    one, style = name(rng, sort), rng.random()
    # "Anything white" may also mean the background.
    loose = None in sort and (colour is None or scene.background not in (None, colour))
    if style < 0.28:
        return say(rng, "exist many", things=name(rng, sort, many=True)), answer
    if kind and style < 0.35:
        return say(rng, "exist the", the=f"the {one}"), answer
    if kind and style < 0.42:
        return say(rng, "exist quoted", what=pick(rng, (f"the {one}", an(one), one))), answer
    if loose and style < 0.5:
        return say(rng, "exist of", which=colour or an(one)), answer
    if loose and style < 0.7 and colour:
        return say(rng, "exist", a=say(rng, "exist colour", colour=colour)), answer
    return say(rng, "exist", a=an(one) if rng.random() < 0.94 else f"any {one}"), answer


def _verify(scene: Scene, shape: Shape, yes: bool, rng: Rng) -> str:
    """Return words that ask whether a shape, named by its kind, has its colour or a wrong one."""
    others = [colour for colour in COLOURS if colour != shape.colour]
    near = [s.colour for s in scene.shapes if s.colour != shape.colour]
    wrong = pick(rng, near if near and rng.random() < 0.7 else others)
    colour = shape.colour if yes else wrong
    kinds = {s.kind for s in scene.shapes if s.colour == colour}
    slots = {"thing": name(rng, (None, shape.kind)), "colour": colour, "kind": shape.kind}
    return say(rng, "verify", "\n" if len(kinds) == 1 else "<kind>", **slots)


def _relation(scene: Scene, rng: Rng) -> Said | None:
    """Ask whether a shape is left of, right of, above or below another, or which of two is."""
    named = [(shape, words) for shape in scene.shapes if (words := _name_alone(scene, shape, rng))]
    if len(named) < 2:
        return None
    (one, first), (two, second) = (named[i] for i in rng.choice(len(named), size=2, replace=False))
    which = one.kind != two.kind and bool(rng.random() < 0.35)
    text = say(rng, "relation which" if which else "relation", first=first, second=second)
    said = set(text.replace(",", " ").split())
    gap = (two.x - one.x) if said & {"left", "right"} else (two.y - one.y)
    if abs(gap) < 0.1:
        return None
    holds = (gap > 0) == bool(said & {"left", "above", "over", "higher", "top"})
    answers = (one.kind, two.kind) if which else ("yes", "no")
    return text, answers[0] if holds else answers[1]


def place(scene: Scene, shape: Shape, margin: float = 0.0) -> str | None:
    """Return in which of `PLACES` the shape is, None within `margin` of a border (in places)."""
    x, y = shape.x / scene.width * 3, shape.y / scene.height * 3
    if any(abs(spot - line) < margin for spot in (x, y) for line in (1, 2)):
        return None
    return PLACES[min(2, int(y))][min(2, int(x))]


def _position(scene: Scene, rng: Rng) -> Said | None:
    """Ask in which of `PLACES` a shape is; not where it is near the border of a place."""
    named = [(_name_alone(scene, s, rng), place(scene, s, 0.12)) for s in scene.shapes]
    if not (clear := [(words, where) for words, where in named if words and where]):
        return None
    words, where = pick(rng, clear)
    return say(rng, "position", thing=words), where


def _box(scene: Scene, rng: Rng) -> Said | None:
    """Ask for the box of a shape that a kind, a colour or both name alone."""
    if not scene.shapes:
        return None
    shape = pick(rng, scene.shapes)
    words = f"{shape.colour} shape" if rng.random() < 0.3 else _name_alone(scene, shape, rng)
    if words is None or (words.endswith(" shape") and scene.count(shape.colour) > 1):
        return None
    # A shape that is not drawn yet has no box: take its usual size.
    half = shape.radius * (0.78 if shape.kind == "square" else 0.92)
    guess = shape.x - half, shape.y - half, shape.x + half, shape.y + half
    (left, top, right, bottom), (x, y) = shape.box or guess, scene.offset
    box = left + x, top + y, right + x, bottom + y
    return say(rng, "box", the=f"the {words}"), written_box(box), box


#: What asks each kind of question.
ASKERS: Mapping[str, Callable[[Scene, Rng], Said | None]] = {
    "colour": _colour, "shape": _shape, "count": partial(_count, "any"),
    "count colour": partial(_count, "colour"), "count shape": partial(_count, "shape"),
    "count both": partial(_count, "both"), "exist": _exist, "relation": _relation,
    "position": _position, "box": _box,
}  # fmt: skip


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
