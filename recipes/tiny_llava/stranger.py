"""The examination: questions in phrasings and about pictures that no training uses.

The pictures come from `stranger_draw.py`, the phrasings, written by hand and whole, from
`data/stranger.txt`. Nothing here asks about a stamp's word: these stamps have none.
"""

from __future__ import annotations

from itertools import product

from numpy.random import Generator as Rng

from .captions import brief
from .questions import Question, read_box, written_box
from .shape_questions import place
from .stranger_draw import TONES, draw_chart, draw_page, draw_scene, draw_writing, sample_scene
from .things import COLOURS, SHAPES, Chart, Drawing, Page, Picture, Scene, Writing
from .words import PLURALS, an, load, phrase, pick

__all__ = [
    "KINDS", "TONES", "ask", "draw_chart", "draw_page", "draw_question", "draw_scene", "phrasings",
    "sample_scene",
]  # fmt: skip

#: All kinds of questions, in the examination's order.
KINDS = (
    "colour", "shape", "count", "count colour", "count shape", "count both", "exist", "background",
    "relation", "position", "number", "word", "letters", "tallest", "shortest", "title", "total",
    "stamp", "count lines", "bar's colour", "count bars", "stamp there", "box", "caption",
)  # fmt: skip
#: Kinds with another kind's phrasings.
_LIKE = dict.fromkeys(("count colour", "count shape", "count both"), "count") | {"letters": "word"}
#: What fills a phrasing's slots, and the answer; None where there is no sure answer.
_Facts = tuple[dict[str, str], str | None]


def draw_question(kind: str, rng: Rng) -> tuple[Drawing, Question] | None:
    """Return a picture with a question of that kind of `KINDS`, None if chance leaves none."""
    picture: Picture
    if kind in ("number", "word", "letters"):
        picture, image = draw_writing(rng, kind)
    elif kind in ("tallest", "shortest"):
        picture, image = draw_chart(rng, labelled=bool(rng.random() < 0.4))
    elif kind in ("bar's colour", "count bars"):
        picture, image = draw_chart(rng, labelled=kind == "bar's colour")
    elif kind in ("title", "total", "stamp", "count lines", "stamp there"):
        picture, image = draw_page(rng)
    else:
        drawing = draw_scene(sample_scene(rng), rng)
        picture, image = drawing.picture, drawing.image
    question = ask(picture, kind, rng)
    return None if question is None else (Drawing(image, picture), question)


def phrasings(kind: str) -> tuple[str, ...]:
    """Return a kind's phrasings, with slots such as `<thing>`; `KeyError` if it is unknown."""
    return load("stranger")[_LIKE.get(kind, kind)]


def ask(picture: Picture, kind: str, rng: Rng) -> Question | None:
    """Return a question of a kind of `KINDS` on a drawn picture, None if no answer is sure."""
    templates, slots, answer = phrasings(kind), dict[str, str](), None
    match picture:
        case Scene():
            slots, answer = _about_scene(picture, kind, rng)
        case Writing():
            answer = picture.lines[0].text
        case Chart() if kind == "count bars":
            answer = str(len(picture.bars))
        case Chart() if kind == "bar's colour":
            bar = pick(rng, picture.bars)
            if bar.label:
                slots, answer = {"label": bar.label.text}, bar.colour
        case Chart():
            bar = picture.tallest if kind == "tallest" else picture.shortest
            answer = bar.label.text if bar.label else bar.colour
        case Page(stamp=stamp):
            # 60% of pages have a stamp; without a third of these, yes and no are even.
            answer = {
                "title": picture.title.text,
                "total": picture.total.text,
                "count lines": str(len(picture.strokes)),
                "stamp": stamp.colour if stamp else None,
                "stamp there": "no" if not stamp else "yes" if rng.random() < 2 / 3 else None,
            }[kind]
    if answer is None:
        return None
    box = read_box(answer) if kind == "box" else None
    return Question(kind, phrase(rng, templates, slots), answer, box)


def _about_scene(scene: Scene, kind: str, rng: Rng) -> _Facts:
    shape = pick(rng, scene.shapes)
    colour, form = shape.colour, shape.kind
    if kind == "exist":
        return _existence(scene, rng)
    if kind == "relation":
        return _relation(scene, rng)
    if kind == "count":
        return {"things": pick(rng, ("shapes", "objects", "figures"))}, str(scene.count())
    if kind.startswith("count"):
        if rng.random() < 0.15:
            colour, form = pick(rng, COLOURS), pick(rng, SHAPES)
        wanted = "" if kind == "count shape" else colour
        things = "shapes" if kind == "count colour" else PLURALS[form][0]
        number = scene.count(wanted or None, None if kind == "count colour" else form)
        return {"things": f"{wanted} {things}"}, str(number)
    lone = scene.count(kind=form) == 1
    box = shape.box if scene.count(colour, form) == 1 else None
    facts: dict[str, _Facts] = {
        "background": ({}, scene.background),
        "caption": ({}, brief(scene)),
        "colour": ({"thing": form}, colour if lone else None),
        "position": ({"thing": form}, place(scene, shape, 0.15) if lone else None),
        "shape": ({"colour": colour}, form if scene.count(colour) == 1 else None),
        "box": ({"thing": f"{colour} {form}"}, written_box(box) if box else None),
    }
    return facts[kind]


def _existence(scene: Scene, rng: Rng) -> _Facts:
    """A third asks for a kind, a third for a colour, a third for both; half of each exist."""
    style, there = int(rng.integers(3)), bool(rng.random() < 0.5)
    colours = [colour if style != 0 else None for colour in COLOURS if colour != scene.background]
    options = list(product(colours, [form if style != 1 else None for form in SHAPES]))
    if not there and style == 2 and rng.random() < 0.7:
        near = [pair for pair in options if scene.count(pair[0]) and scene.count(kind=pair[1])]
        options = near or options
    options = [pair for pair in options if (scene.count(*pair) > 0) == there]
    if not options:
        return {}, None
    colour, form = pick(rng, options)
    return {"a": an(f"{colour or ''} {form or 'shape'}".strip())}, "yes" if there else "no"


def _relation(scene: Scene, rng: Rng) -> _Facts:
    """Whether one of two shapes, each the only one of its kind, lies on some side of the other."""
    lone = [shape for shape in scene.shapes if scene.count(kind=shape.kind) == 1]
    if len(lone) < 2:
        return {}, None
    first, second = (lone[index] for index in rng.permutation(len(lone))[:2])
    side = pick(rng, ("to the left of", "to the right of", "above", "below"))
    gap = second.x - first.x if "the" in side else second.y - first.y
    answer = "yes" if (gap > 0) == (side in ("to the left of", "above")) else "no"
    slots = {"first": first.kind, "second": second.kind, "side": side}
    return slots, answer if abs(gap) > 0.1 else None
