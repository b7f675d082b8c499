"""Questions about where shapes are: left of, above, in which of nine places."""

from __future__ import annotations

import numpy as np

from . import phrasings
from .phrasings import phrase
from .words import Question, Those, pick, singular
from .world import Scene, Shape

PLACES = (
    ("top left", "top", "top right"),
    ("left", "center", "right"),
    ("bottom left", "bottom", "bottom right"),
)
_BEFORE = {"left", "above", "over", "higher", "top"}
"""Words that ask whether something comes before, going right and down."""


def ask_relation(scene: Scene, rng: np.random.Generator, leaning: float = 0.0) -> Question | None:
    """Whether one shape is left of, right of, above or below another, or which of two is.

    Shapes are told by their kind where one is enough, else by colour and kind. A share ``leaning``
    asks of nothing but whether the first is left of or above the second. That is a start: asked
    evenly for both ways, neither the words nor the places tell anything of the answer by
    themselves, and a small model finds no way in.
    """
    named = [(shape, told) for shape in scene.shapes if (told := _told(scene, shape, rng))]
    if len(named) < 2:
        return None
    (one, first), (two, second) = (named[i] for i in rng.choice(len(named), size=2, replace=False))
    leant = bool(rng.random() < leaning)
    which = not leant and one.kind != two.kind and bool(rng.random() < 0.35)
    slots = {"first": _words(first, rng), "second": _words(second, rng)}
    text = phrase(rng, phrasings.RELATION_WHICH if which else phrasings.RELATION, slots)
    while leant and not _BEFORE & set(text.split()):
        text = phrase(rng, phrasings.RELATION, slots)
    said = set(text.replace(",", " ").split())
    gap = (two.x - one.x) if said & {"left", "right"} else (two.y - one.y)
    if abs(gap) < 0.1:
        return None
    holds = (gap > 0) == bool(said & _BEFORE)
    if which:
        return Question("relation", text, one.kind if holds else two.kind, about=(first, second))
    return Question("relation", text, "yes" if holds else "no", about=(first, second))


def _told(scene: Scene, shape: Shape, rng: np.random.Generator) -> Those | None:
    """What tells a shape from all others: its kind, or colour and kind; nothing may."""
    if scene.count(kind=shape.kind) == 1 and rng.random() < 0.8:
        return None, shape.kind
    return (shape.colour, shape.kind) if scene.count(shape.colour, shape.kind) == 1 else None


def _words(those: Those, rng: np.random.Generator) -> str:
    colour, kind = those
    assert kind is not None
    return singular(rng, kind) if colour is None else f"{colour} {singular(rng, kind)}"


def ask_position(scene: Scene, rng: np.random.Generator) -> Question | None:
    """In which of nine places of the picture the only circle is."""
    lone = [shape for shape in scene.shapes if scene.count(kind=shape.kind) == 1]
    if not lone:
        return None
    shape = pick(rng, lone)
    spots = shape.x / scene.width * 3, shape.y / scene.height * 3
    if any(abs(spot - line) < 0.12 for spot in spots for line in (1, 2)):
        return None
    place = PLACES[min(2, int(spots[1]))][min(2, int(spots[0]))]
    slots = {"thing": singular(rng, shape.kind)}
    text = phrase(rng, phrasings.POSITION, slots)
    return Question("position", text, place, about=((None, shape.kind),))
