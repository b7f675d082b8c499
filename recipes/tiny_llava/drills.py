"""The language model's first exercises: one plain sentence a kind, about scenes with a choice.

To answer "What colour is the circle?" a model must find the circle among other shapes and read
its colour off. In hundreds of phrasings that takes long to emerge; in one it emerges soon, and
then carries over.
"""

from __future__ import annotations

import numpy as np

from .words import Question, alone, an, pick
from .world import COLOURS, SHAPES, Scene


def drill(scene: Scene, rng: np.random.Generator) -> Question:
    """A question in the plainest words; mostly for a colour or a shape."""
    manner = rng.random()
    by_kind, by_colour = alone(scene, "kind"), alone(scene, "colour")
    if manner < 0.35 and by_kind:
        shape = pick(rng, by_kind)
        return Question("colour", f"What colour is the {shape.kind}?", shape.colour)
    if manner < 0.65 and by_colour:
        shape = pick(rng, by_colour)
        return Question("shape", f"What shape is the {shape.colour} object?", shape.kind)
    if manner < 0.8:
        return _exist(scene, rng)
    if manner < 0.86 and scene.background is not None:
        return Question("background", "What colour is the background?", scene.background)
    if manner < 0.93 and scene.shapes:
        kind = pick(rng, scene.shapes).kind
        plural = f"{kind}es" if kind == "cross" else f"{kind}s"
        number = str(scene.count(kind=kind))
        return Question("count shape", f"How many {plural} are there?", number)
    return Question("count", "How many shapes are there?", str(len(scene.shapes)))


def _exist(scene: Scene, rng: np.random.Generator) -> Question:
    yes = bool(rng.random() < 0.5)
    if rng.random() < 0.5:
        kinds = [kind for kind in SHAPES if (scene.count(kind=kind) > 0) == yes]
        if kinds:
            return Question("exist", f"Is there {an(pick(rng, kinds))}?", "yes" if yes else "no")
    colours = [name for name in COLOURS if (scene.count(colour=name) > 0) == yes]
    if not colours:
        return Question("exist", "Is there a shape?", "yes" if scene.shapes else "no")
    return Question("exist", f"Is there {an(pick(rng, colours))} shape?", "yes" if yes else "no")
