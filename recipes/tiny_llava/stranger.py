"""A stranger's questions: whole phrasings for evaluation only, never for training.

Written by hand, and not composed by the templates of :mod:`~recipes.tiny_llava.phrasings` (a test
holds that). A scene goes in, a :class:`~recipes.tiny_llava.questions.Question` comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from .places import PLACES
from .wide.questions import caption_shapes, written_box
from .words import Question
from .world import COLOURS, SHAPES, Scene, Shape

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
    "relation": (
        "Would you say that the {first} is {side} the {second}?",
        "I think the {first} is {side} the {second}. Am I right?",
        "Do I find the {first} {side} the {second}?",
        "Looking at the image, is the {first} {side} the {second} or not?",
        "Is it correct that the {first} is {side} the {second}?",
        "Please check: has the {first} been drawn {side} the {second}?",
        "My note puts the {first} {side} the {second}. Is that true?",
        "Did the artist place the {first} {side} the {second}?",
    ),
    "position": (
        "Whereabouts is the {thing}?",
        "I can't find the {thing}. Where should I look?",
        "Tell us the {thing}'s position.",
        "At which place of the picture do I find the {thing}?",
        "The {thing} is in which part of this image?",
        "Name the region that holds the {thing}.",
        "Into which part of the image did they put the {thing}?",
        "Where did the artist draw the {thing}?",
    ),
    "box": (
        "Which rectangle encloses the {thing}?",
        "Outline the {thing} with a bounding box, please.",
        "I need the box that fits the {thing}.",
        "Could you frame the {thing} by a bounding box?",
        "Return a tight box for the {thing}.",
        "Between which coordinates is the {thing}?",
    ),
    "caption": (
        "Please tell me everything that is in this picture.",
        "How would you describe this image to someone who can't see it?",
        "Give a full description of what is shown.",
        "Sum up this picture in a sentence.",
        "List all that this image shows.",
        "What would I see if I looked at this picture?",
    ),
}
"""Whole phrasings a kind, written by hand; ``{thing}`` and the like are filled from the scene."""


_SIDES = ("to the left of", "to the right of", "above", "below")


def ask(scene: Scene, kind: str, rng: np.random.Generator) -> Question | None:
    """A stranger's question of that kind, or ``None`` where it would be ambiguous.

    Kinds are those that ``WORDS`` has words for: ``"count"`` has them for all kinds that begin so.
    For a ``"box"`` the scene's shapes have to know theirs, as once drawn.
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
    if kind == "relation":
        return _relation(scene, rng)
    if kind == "position":
        return {"thing": shape.kind}, _position(scene, shape)
    if kind == "box":
        assert shape.box is not None
        sure = scene.count(shape.colour, shape.kind) == 1
        return {"thing": f"{shape.colour} {shape.kind}"}, written_box(shape.box) if sure else None
    if kind == "caption":
        told = caption_shapes(scene, rng)
        return {}, told.answer if told is not None else None
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


def _relation(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str | None]:
    """Whether one of two shapes, each the only one of its kind, lies on some side of the other."""
    lone = [shape for shape in scene.shapes if scene.count(kind=shape.kind) == 1]
    if len(lone) < 2:
        return {}, None
    first, second = (lone[index] for index in rng.permutation(len(lone))[:2])
    side = _pick(rng, _SIDES)
    gap = first.x - second.x if "the" in side else first.y - second.y
    if side in (_SIDES[1], _SIDES[3]):
        gap = -gap
    answer = "yes" if gap < 0 else "no"
    slots = {"first": first.kind, "second": second.kind, "side": side}
    return slots, answer if abs(gap) > 0.1 else None


def _position(scene: Scene, shape: Shape) -> str | None:
    """In which of nine places the only shape of its kind is; ``None`` near a border of two."""
    column, row = shape.x * 3, shape.y * 3
    near = any(abs(at - line) < 0.15 for at in (column, row) for line in (1, 2))
    if near or scene.count(kind=shape.kind) > 1:
        return None
    return PLACES[int(row)][int(column)]


def _pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[int(rng.integers(len(items)))]
