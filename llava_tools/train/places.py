"""Questions about where shapes are: left of, above, in which of nine places."""

from __future__ import annotations

import numpy as np

from . import phrasings
from .phrasings import phrase
from .words import Question, pick, singular
from .world import Scene

PLACES = (
    ("top left", "top", "top right"),
    ("left", "center", "right"),
    ("bottom left", "bottom", "bottom right"),
)


def ask_relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Whether one shape is left of, right of, above or below another, or which of two is."""
    lone = [shape for shape in scene.shapes if scene.count(kind=shape.kind) == 1]
    if len(lone) < 2:
        return None
    one, two = (lone[i] for i in rng.choice(len(lone), size=2, replace=False))
    slots = {"first": singular(rng, one.kind), "second": singular(rng, two.kind)}
    which = bool(rng.random() < 0.35)
    text = phrase(rng, phrasings.RELATION_WHICH if which else phrasings.RELATION, slots)
    words = text.replace(",", " ").split()
    across = "left" in words or "right" in words
    gap = (two.x - one.x) if across else (two.y - one.y)
    if abs(gap) < 0.1:
        return None
    before = any(word in words for word in ("left", "above", "over", "higher", "top"))
    holds = (gap > 0) == before
    both = ((None, one.kind), (None, two.kind))
    if which:
        return Question("relation", text, one.kind if holds else two.kind, about=both)
    return Question("relation", text, "yes" if holds else "no", about=both)


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
