"""The examination: questions in phrasings and about pictures that no training uses.

The pictures come from `stranger_draw.py`, the phrasings, written by hand and whole, from
`data/stranger.txt`. Nothing here asks about a stamp's word: these stamps have none.
"""

from __future__ import annotations

import numpy as np

from .descriptions import brief
from .questions import PLACES, Question, read_box, written_box
from .stranger_draw import TONES, draw_chart, draw_page, draw_scene, draw_writing, sample_scene
from .things import COLOURS, SHAPES, Chart, Drawing, Page, Picture, Scene, Shape, Writing
from .words import PLURALS, an, load, phrase, pick

__all__ = [
    "KINDS", "TONES", "ask", "draw_chart", "draw_page", "draw_question", "draw_scene",
    "draw_writing", "phrasings", "sample_scene",
]  # fmt: skip

#: All kinds of questions, in the examination's order.
KINDS = (
    "colour", "shape", "count", "count colour", "count shape", "count both", "exist", "background",
    "relation", "position", "number", "word", "letters", "tallest", "shortest", "title", "total",
    "stamp", "count lines", "bar's colour", "count bars", "stamp there", "box", "caption",
)  # fmt: skip
#: Kinds with another kind's phrasings.
_LIKE = dict.fromkeys(("count colour", "count shape", "count both"), "count") | {"letters": "word"}
_SIDES = ("to the left of", "to the right of", "above", "below")
#: What fills a phrasing's slots, and the answer; None where there is no sure answer.
_Facts = tuple[dict[str, str], str | None]


def draw_question(kind: str, rng: np.random.Generator) -> tuple[Drawing, Question] | None:
    """Return a picture with a question of that kind of `KINDS`, None if chance leaves none."""
    picture: Picture
    match kind:
        case "number" | "word" | "letters":
            picture, image = draw_writing(rng, kind)
        case "tallest" | "shortest":
            picture, image = draw_chart(rng, labelled=bool(rng.random() < 0.4))
        case "bar's colour" | "count bars":
            picture, image = draw_chart(rng, labelled=kind == "bar's colour")
        case "title" | "total" | "stamp" | "count lines" | "stamp there":
            picture, image = draw_page(rng)
        case _:
            drawing = draw_scene(sample_scene(rng), rng)
            picture, image = drawing.picture, drawing.image
    question = ask(picture, kind, rng)
    return None if question is None else (Drawing(image, picture), question)


def ask(picture: Picture, kind: str, rng: np.random.Generator) -> Question | None:
    """Return a question about a drawn picture, None if there is no sure answer.

    Raises:
        KeyError: The kind is not one of `KINDS`.
    """
    templates, slots = phrasings(kind), dict[str, str]()
    match picture:
        case Scene():
            slots, answer = _about_scene(picture, kind, rng)
        case Chart():
            slots, answer = _about_chart(picture, kind, rng)
        case Page():
            answer = _about_page(picture, kind, rng)
        case Writing():
            answer = picture.lines[0].text
    if answer is None:
        return None
    box = read_box(answer) if kind == "box" else None
    return Question(kind, phrase(rng, templates, slots), answer, box)


def phrasings(kind: str) -> tuple[str, ...]:
    """Return a kind's phrasings, with slots such as `<thing>`; `KeyError` if it is unknown."""
    return load("stranger")[_LIKE.get(kind, kind)]


def _about_chart(chart: Chart, kind: str, rng: np.random.Generator) -> _Facts:
    if kind == "count bars":
        return {}, str(len(chart.bars))
    if kind == "bar's colour":
        bar = pick(rng, chart.bars)
        return ({"label": bar.label.text}, bar.colour) if bar.label else ({}, None)
    bar = chart.tallest if kind == "tallest" else chart.shortest
    return {}, bar.label.text if bar.label else bar.colour


def _about_page(page: Page, kind: str, rng: np.random.Generator) -> str | None:
    # 60% of pages have a stamp; without a third of these, yes and no are even.
    return {
        "title": page.title.text,
        "total": page.total.text,
        "count lines": str(len(page.strokes)),
        "stamp": page.stamp.colour if page.stamp else None,
        "stamp there": "no" if not page.stamp else "yes" if rng.random() < 2 / 3 else None,
    }[kind]


def _about_scene(scene: Scene, kind: str, rng: np.random.Generator) -> _Facts:
    shape = pick(rng, scene.shapes)
    if kind == "exist":
        return _existence(scene, rng)
    if kind == "relation":
        return _relation(scene, rng)
    if kind.startswith("count"):
        return _count(scene, shape, kind, rng)
    if kind == "background":
        return {}, scene.background
    if kind == "caption":
        return {}, brief(scene)
    if kind == "shape":
        sure = scene.count(colour=shape.colour) == 1
        return {"colour": shape.colour}, shape.kind if sure else None
    if kind == "box":
        box = shape.box if scene.count(shape.colour, shape.kind) == 1 else None
        return {"thing": f"{shape.colour} {shape.kind}"}, written_box(box) if box else None
    sure = scene.count(kind=shape.kind) == 1
    answer = shape.colour if kind == "colour" else _place(shape)
    return {"thing": shape.kind}, answer if sure else None


def _count(scene: Scene, shape: Shape, kind: str, rng: np.random.Generator) -> _Facts:
    """How many shapes there are, of all or like `shape`; 15% ask for a random colour and kind."""
    if kind == "count":
        return {"things": pick(rng, ("shapes", "objects", "figures"))}, str(len(scene.shapes))
    colour, form = shape.colour, shape.kind
    if rng.random() < 0.15:
        colour, form = pick(rng, COLOURS), pick(rng, SHAPES)
    if kind == "count colour":
        return {"things": f"{colour} shapes"}, str(scene.count(colour=colour))
    if kind == "count shape":
        return {"things": PLURALS[form][0]}, str(scene.count(kind=form))
    return {"things": f"{colour} {PLURALS[form][0]}"}, str(scene.count(colour, form))


def _existence(scene: Scene, rng: np.random.Generator) -> _Facts:
    """A third asks for a kind, a third for a colour, a third for both; half of each exist."""
    style, there = int(rng.integers(3)), bool(rng.random() < 0.5)
    options = [
        (colour if style != 0 else None, form if style != 1 else None)
        for colour in COLOURS
        for form in SHAPES
        if colour != scene.background
    ]
    if not there and style == 2 and rng.random() < 0.7:
        near = [pair for pair in options if scene.count(pair[0]) and scene.count(kind=pair[1])]
        options = near or options
    options = [pair for pair in options if (scene.count(*pair) > 0) == there]
    if not options:
        return {}, None
    colour, form = pick(rng, options)
    return {"a": an(f"{colour or ''} {form or 'shape'}".strip())}, "yes" if there else "no"


def _relation(scene: Scene, rng: np.random.Generator) -> _Facts:
    """Whether one of two shapes, each the only one of its kind, lies on some side of the other."""
    lone = [shape for shape in scene.shapes if scene.count(kind=shape.kind) == 1]
    if len(lone) < 2:
        return {}, None
    first, second = (lone[index] for index in rng.permutation(len(lone))[:2])
    side = pick(rng, _SIDES)
    gap = second.x - first.x if "the" in side else second.y - first.y
    answer = "yes" if (gap > 0) == (side in ("to the left of", "above")) else "no"
    slots = {"first": first.kind, "second": second.kind, "side": side}
    return slots, answer if abs(gap) > 0.1 else None


def _place(shape: Shape) -> str | None:
    """In which of nine places the shape's centre is; None near a border of two."""
    column, row = shape.x * 3, shape.y * 3
    near = any(abs(at - line) < 0.15 for at in (column, row) for line in (1, 2))
    return None if near else PLACES[int(row)][int(column)]
