"""Questions that are answered with yes or no: is there a circle, is the circle red.

Yes and no are decided by a coin before anything else is chosen, so no phrasing leans towards
either; a no is often a near miss, a colour and a kind that are both there, but not together.
"""

from __future__ import annotations

import numpy as np

from . import phrasings
from .phrasings import OBJECT, OBJECTS, phrase
from .words import Question, Those, alone, an, pick, plural, singular
from .world import COLOURS, SHAPES, Scene


def ask_exist(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Is there a circle, anything red, a red circle; or: is the circle red."""
    yes = bool(rng.random() < 0.5)
    if yes and not scene.shapes:
        return None
    for _ in range(20):
        manner = rng.random()
        if manner < 0.38:
            question = _exist_kind(scene, rng, yes)
        elif manner < 0.58:
            question = _exist_colour(scene, rng, yes)
        elif manner < 0.88 or not alone(scene, "kind"):
            question = _exist_both(scene, rng, yes)
        else:
            question = _verify(scene, rng, yes)
        if question is not None:
            return question
    return None


def _said(text: str, yes: bool, those: Those) -> Question:
    return Question("exist", text, "yes" if yes else "no", about=(those,))


def _exist_kind(scene: Scene, rng: np.random.Generator, yes: bool) -> Question | None:
    names = [kind for kind in SHAPES if (scene.count(kind=kind) > 0) == yes]
    if not names:
        return None
    kind = pick(rng, names)
    those = None, kind
    manner = rng.random()
    if manner < 0.3:
        return _said(phrase(rng, phrasings.EXIST_MANY, {"things": plural(rng, kind)}), yes, those)
    word = singular(rng, kind)
    if manner < 0.36:
        return _said(phrase(rng, phrasings.EXIST_OF, {"which": an(word)}), yes, those)
    if manner < 0.5:
        return _said(_known(word, rng), yes, those)
    determiner = an(word) if manner < 0.92 else f"any {word}"
    return _said(phrase(rng, phrasings.EXIST, {"a": determiner}), yes, those)


def _known(words: str, rng: np.random.Generator) -> str:
    """Asks for "the circle", as if there were one, or quotes what the picture is said to show."""
    if rng.random() < 0.5:
        return phrase(rng, phrasings.EXIST_THE, {"the": f"the {words}"})
    quoted = pick(rng, (f"the {words}", an(words), words))
    return phrase(rng, (phrasings.EXIST_QUOTED,), {"what": quoted})


def _exist_colour(scene: Scene, rng: np.random.Generator, yes: bool) -> Question | None:
    names = [name for name in COLOURS if (scene.count(colour=name) > 0) == yes]
    if not names:
        return None
    colour = pick(rng, names)
    things = f"{colour} {phrase(rng, (OBJECTS,))}"
    those = colour, None
    manner = rng.random()
    if manner < 0.25:
        return _said(phrase(rng, phrasings.EXIST_MANY, {"things": things}), yes, those)
    clear = scene.background is not None and colour != scene.background
    if manner < 0.4 and clear:
        return _said(phrase(rng, phrasings.EXIST_OF, {"which": colour}), yes, those)
    if manner < 0.65 and clear:
        words = phrase(rng, phrasings.EXIST_COLOUR, {"colour": colour})
    else:
        words = an(f"{colour} {phrase(rng, (OBJECT,))}")
    return _said(phrase(rng, phrasings.EXIST, {"a": words}), yes, those)


def _exist_both(scene: Scene, rng: np.random.Generator, yes: bool) -> Question | None:
    if yes:
        shape = pick(rng, scene.shapes)
        colour, kind = shape.colour, shape.kind
    else:
        colours = [shape.colour for shape in scene.shapes] if rng.random() < 0.75 else []
        kinds = [shape.kind for shape in scene.shapes] if rng.random() < 0.75 else []
        pairs = [
            (colour, kind)
            for colour in colours or COLOURS
            for kind in kinds or SHAPES
            if not scene.count(colour, kind)
        ]
        if not pairs:
            return None
        colour, kind = pick(rng, pairs)
    those = colour, kind
    if rng.random() < 0.3:
        things = f"{colour} {plural(rng, kind)}"
        return _said(phrase(rng, phrasings.EXIST_MANY, {"things": things}), yes, those)
    words = f"{colour} {singular(rng, kind)}"
    if rng.random() < 0.2:
        return _said(_known(words, rng), yes, those)
    return _said(phrase(rng, phrasings.EXIST, {"a": an(words)}), yes, those)


def _verify(scene: Scene, rng: np.random.Generator, yes: bool) -> Question:
    shape = pick(rng, alone(scene, "kind"))
    others = [name for name in COLOURS if name != shape.colour]
    near = [s.colour for s in scene.shapes if s.colour != shape.colour]
    wrong = pick(rng, near if near and rng.random() < 0.5 else others)
    colour = shape.colour if yes else wrong
    slots = {"thing": singular(rng, shape.kind), "colour": colour, "kind": shape.kind}
    templates: tuple[str, ...] = phrasings.VERIFY
    if (
        not any(s.colour == colour and s.kind == shape.kind for s in scene.shapes) and not yes
    ) or shape not in alone(scene, "colour"):
        templates = tuple(t for t in templates if "<kind>" not in t)
    return _said(phrase(rng, templates, slots), yes, (colour, shape.kind))
