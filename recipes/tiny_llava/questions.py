"""Questions about a scene, with their answers: one function a kind.

A :class:`Scene` and a seeded generator go in; a :class:`Question` comes out, or ``None`` where
the scene leaves nothing unambiguous to ask. Answers are short and lower case: a colour, a shape,
digits, "yes" or "no", a place. :mod:`~recipes.tiny_llava.manners` dresses the words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from . import phrasings
from .existence import ask_exist
from .phrasings import OBJECT, OBJECTS, phrase
from .places import ask_position, ask_relation
from .words import Question, alone, pick, plural, singular
from .world import COLOURS, SHAPES, Scene

Asker = Callable[[Scene, np.random.Generator], Question | None]

MOST = 6
"""The highest number that anybody is asked to count to."""


def _two(rng: np.random.Generator, true: str, among: Sequence[str]) -> dict[str, str]:
    pair = [true, pick(rng, [name for name in among if name != true])]
    rng.shuffle(pair)
    return {"first": pair[0], "second": pair[1]}


def ask_colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The colour of the only circle, of all circles where they agree, or of the only shape."""
    sure = alone(scene, "kind")
    if not sure:
        return None
    shape = pick(rng, sure)
    many = scene.count(kind=shape.kind) > 1
    manner = rng.random()
    slots = {"thing": singular(rng, shape.kind), "things": plural(rng, shape.kind)}
    if len(scene.shapes) == 1 and manner < 0.4:
        slots["thing"] = phrase(rng, (OBJECT,))
    if many or manner > 0.95:
        return Question("colour", phrase(rng, phrasings.COLOURS_OF_MANY, slots), shape.colour)
    if manner > 0.9:
        slots |= _two(rng, shape.colour, COLOURS)
        return Question("colour", phrase(rng, phrasings.EITHER, slots), shape.colour)
    return Question("colour", phrase(rng, phrasings.COLOUR, slots), shape.colour)


def ask_shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The shape of what is red, or of the only thing there is."""
    manner = rng.random()
    if len(scene.shapes) == 1 and manner < 0.4:
        return Question("shape", phrase(rng, phrasings.SHAPE_ALONE), scene.shapes[0].kind)
    sure = alone(scene, "colour")
    if not sure:
        return None
    shape = pick(rng, sure)
    slots = {"colour": shape.colour}
    if manner > 0.93:
        slots |= _two(rng, shape.kind, SHAPES)
        return Question("shape", phrase(rng, phrasings.SHAPE_EITHER, slots), shape.kind)
    return Question("shape", phrase(rng, phrasings.SHAPE, slots), shape.kind)


def ask_count(scene: Scene, rng: np.random.Generator) -> Question | None:
    """How many shapes there are in all."""
    if len(scene.shapes) > MOST:
        return None
    slots = {"things": phrase(rng, (OBJECTS,))}
    text, number = phrase(rng, phrasings.COUNT, slots), str(len(scene.shapes))
    return Question("count", text, number, about=((None, None),))


def ask_count_colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    """How many shapes of a colour; a colour that is there, mostly."""
    colour = _subset(scene, rng, "colour", COLOURS)
    number = scene.count(colour=colour)
    if number > MOST:
        return None
    if rng.random() < 0.15:
        text = phrase(rng, phrasings.COUNT_OF, {"which": colour})
    else:
        text = phrase(rng, phrasings.COUNT, {"things": f"{colour} {phrase(rng, (OBJECTS,))}"})
    return Question("count colour", text, str(number), about=((colour, None),))


def ask_count_shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    """How many shapes of a kind."""
    kind = _subset(scene, rng, "kind", SHAPES)
    number = scene.count(kind=kind)
    if number > MOST:
        return None
    words = plural(rng, kind) if rng.random() < 0.96 else singular(rng, kind)
    if rng.random() < 0.1:
        text = phrase(rng, phrasings.COUNT_OF, {"which": words})
    else:
        text = phrase(rng, phrasings.COUNT, {"things": words})
    return Question("count shape", text, str(number), about=((None, kind),))


def ask_count_both(scene: Scene, rng: np.random.Generator) -> Question | None:
    """How many shapes of a colour and a kind."""
    colour, kind = _subset(scene, rng, "colour", COLOURS), _subset(scene, rng, "kind", SHAPES)
    if scene.shapes and rng.random() < 0.6:
        shape = pick(rng, scene.shapes)
        colour, kind = shape.colour, shape.kind
    number = scene.count(colour, kind)
    if number > MOST:
        return None
    text = phrase(rng, phrasings.COUNT, {"things": f"{colour} {plural(rng, kind)}"})
    return Question("count both", text, str(number), about=((colour, kind),))


def _subset(scene: Scene, rng: np.random.Generator, by: str, names: Sequence[str]) -> str:
    """A name to count: of a random shape in most cases, else any."""
    if scene.shapes and rng.random() < 0.86:
        return str(getattr(pick(rng, scene.shapes), by))
    return pick(rng, names)


def ask_background(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The background's colour, where a name fits it."""
    if scene.background is None:
        return None
    return Question("background", phrase(rng, phrasings.BACKGROUND), scene.background)


ASKERS: dict[str, tuple[float, Asker]] = {
    "colour": (0.13, ask_colour),
    "shape": (0.12, ask_shape),
    "count": (0.15, ask_count),
    "count colour": (0.12, ask_count_colour),
    "count shape": (0.12, ask_count_shape),
    "count both": (0.05, ask_count_both),
    "exist": (0.19, ask_exist),
    "background": (0.08, ask_background),
    "relation": (0.02, ask_relation),
    "position": (0.02, ask_position),
}
"""Every kind with its share of the training questions."""


def ask(scene: Scene, rng: np.random.Generator, kinds: Sequence[str] = ()) -> Question:
    """A random question about the scene, of one of ``kinds`` (of any, if none is named)."""
    names = list(kinds or ASKERS)
    shares = np.array([ASKERS[name][0] for name in names])
    for _ in range(100):
        question = ASKERS[str(rng.choice(names, p=shares / shares.sum()))][1](scene, rng)
        if question is not None:
            return question
    raise ValueError(f"nothing unambiguous to ask of kind {', '.join(names)} about {scene}")


def spatial(scene: Scene, rng: np.random.Generator, leaning: float = 0.0) -> Question | None:
    """A question about where something is, if the scene leaves one to ask.

    Two in three ask how two shapes lie to each other, which takes longer to learn; ``leaning`` of
    these ask for one way alone.
    """
    if rng.random() < 0.67:
        return ask_relation(scene, rng, leaning) or ask_position(scene, rng)
    return ask_position(scene, rng) or ask_relation(scene, rng, leaning)
