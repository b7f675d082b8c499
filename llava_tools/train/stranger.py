"""A stranger's questions: whole phrasings for evaluation only, never for training.

Written by hand, and not composed by the templates of :mod:`~llava_tools.train.phrasings` (a test
holds that). A scene goes in, a :class:`~llava_tools.train.questions.Question` comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from .words import Question
from .world import COLOURS, SHAPES, Scene

T = TypeVar("T")

WORDS: dict[str, tuple[str, ...]] = {
    "colour": (
        "Which color is that {thing}?",
        "I'm looking for the {thing}'s colour.",
        "Hello! Could I ask what colour the {thing} happens to be?",
        "What colour did the artist give the {thing}?",
        "Describe the {thing} by its color alone.",
        "If you had to repaint the {thing} to match, which colour would you need?",
        "The {thing} you see has which color?",
        "Of what colour is the {thing} made?",
        "My friend asks what color our {thing} is.",
        "What colour is used to fill the {thing}?",
    ),
    "shape": (
        "Which shape comes in {colour}?",
        "I see something {colour}; what shape might that be?",
        "What form has the thing in {colour}?",
        "What is the name of the {colour} shape?",
        "The {colour} one: what shape is it?",
        "How would you call the figure coloured {colour}?",
        "Could you identify the geometric figure that is {colour}?",
        "Which geometric shape did they colour {colour}?",
        "Say what the {colour} object is.",
        "What sort of shape has been filled with {colour}?",
    ),
    "count": (
        "How many {things} in this one?",
        "I need the number of {things} you can see.",
        "Can you work out how many {things} this image has?",
        "Let's count {things}: how many?",
        "Give me a count of all {things} in the image, please.",
        "What would be the count of {things}?",
        "Would you tell me the exact number of {things} shown in the image?",
        "How many {things} were put into this drawing?",
        "How large is the number of {things} here?",
        "Do tell: how many {things} do we have?",
    ),
    "exist": (
        "Is {a} in there?",
        "Could there be {a} in the picture?",
        "Does this image happen to include {a}?",
        "I wonder, do you see {a} somewhere?",
        "Am I right that there is {a} in this image?",
        "Would I find {a} here?",
        "Look for {a}. Is there one?",
        "Do we see {a} in this one?",
        "Is it true that the image shows {a}?",
        "Please check: is there {a} on the picture?",
    ),
    "background": (
        "Which color was the background given?",
        "What colour do I see in the background?",
        "And the background, which colour is that?",
        "In what color is the background painted?",
        "Tell us the background's color.",
        "What colour lies behind everything?",
        "What is the color at the back of the picture?",
        "Would you name the colour used in the background?",
        "If I removed all the shapes, what colour would be left?",
        "The image has a background of which color?",
    ),
}
"""Whole phrasings a kind, written by hand; ``{thing}`` and the like are filled from the scene."""


def ask(scene: Scene, kind: str, rng: np.random.Generator) -> Question | None:
    """A stranger's question of that kind, or ``None`` where it would be ambiguous.

    Kinds are those of :data:`~llava_tools.train.questions.ASKERS` that ``WORDS`` has words for.
    """
    slots, answer = _facts(scene, kind, rng)
    if answer is None:
        return None
    words = _pick(rng, WORDS[kind.split(" ")[0]])
    return Question(kind, words.format(**slots), answer)


def _facts(scene: Scene, kind: str, rng: np.random.Generator) -> tuple[dict[str, str], str | None]:
    shape = _pick(rng, scene.shapes)
    if kind == "background":
        return {}, scene.background
    if kind == "colour":
        sure = scene.count(kind=shape.kind) == 1
        return {"thing": shape.kind}, shape.colour if sure else None
    if kind == "shape":
        sure = scene.count(colour=shape.colour) == 1
        return {"colour": shape.colour}, shape.kind if sure else None
    if kind == "exist":
        return _existence(scene, rng)
    if kind == "count":
        return {"things": _pick(rng, ("shapes", "objects", "figures"))}, str(len(scene.shapes))
    absent = rng.random() < 0.15
    colour = _pick(rng, COLOURS) if absent else shape.colour
    form = _pick(rng, SHAPES) if absent else shape.kind
    plural = f"{form}es" if form == "cross" else f"{form}s"
    if kind == "count colour":
        return {"things": f"{colour} shapes"}, str(scene.count(colour=colour))
    if kind == "count shape":
        return {"things": plural}, str(scene.count(kind=form))
    return {"things": f"{colour} {plural}"}, str(scene.count(colour, form))


def _existence(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str | None]:
    """A third asks for a kind, a third for a colour, a third for both; half of each are there."""
    manner, there = int(rng.integers(3)), bool(rng.random() < 0.5)
    options = [
        (colour if manner != 0 else None, form if manner != 1 else None)
        for colour in COLOURS
        for form in SHAPES
        if colour != scene.background
    ]
    if not there and manner == 2 and rng.random() < 0.7:
        colours = {shape.colour for shape in scene.shapes}
        forms = {shape.kind for shape in scene.shapes}
        options = [pair for pair in options if pair[0] in colours and pair[1] in forms] or options
    options = [pair for pair in options if (scene.count(*pair) > 0) == there]
    if not options:
        return {}, None
    colour, form = _pick(rng, options)
    words = " ".join(word for word in (colour, form or "shape") if word is not None)
    article = "an" if words[0] in "aeiou" else "a"
    return {"a": f"{article} {words}"}, "yes" if there else "no"


def _pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[int(rng.integers(len(items)))]
