"""What a question is, and the words for shapes that all kinds of questions share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .wide.things import Bar, Line
from .world import Scene, Shape

PLURALS = {
    "circle": ("circles", "discs", "disks"),
    "square": ("squares",),
    "triangle": ("triangles",),
    "star": ("stars",),
    "cross": ("crosses", "plus signs", "pluses"),
    "diamond": ("diamonds", "rhombuses", "rhombi"),
}
SINGULARS = {
    "circle": ("circle", "disc", "disk"),
    "square": ("square",),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross", "plus sign", "plus"),
    "diamond": ("diamond", "rhombus"),
}


Those = tuple[str | None, str | None]
"""A colour and a kind of shape; ``None`` is any."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a scene: its kind, its words as asked plainly, and its answer.

    ``line`` is what has to be read for it, where the answer is what is written there; ``box`` is
    the box, on the padded square in 0–1, that the answer says; ``bar`` is the one that is named in
    the question; ``about`` tells of which shapes one has to know, by colour and kind, ``None``
    standing for any: of all that are counted, or of one and then the other that are compared.
    """

    kind: str
    text: str
    answer: str
    line: Line | None = None
    box: tuple[float, float, float, float] | None = None
    about: tuple[Those, ...] = ()
    bar: Bar | None = None


T = TypeVar("T")


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One of the items."""
    return items[int(rng.integers(len(items)))]


def singular(rng: np.random.Generator, kind: str) -> str:
    """A word for one shape of that kind: mostly the plain one, now and then a synonym."""
    return SINGULARS[kind][0] if rng.random() < 0.9 else pick(rng, SINGULARS[kind])


def plural(rng: np.random.Generator, kind: str) -> str:
    """A word for several shapes of that kind."""
    return PLURALS[kind][0] if rng.random() < 0.9 else pick(rng, PLURALS[kind])


def an(words: str) -> str:
    """The words with their indefinite article."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def alone(scene: Scene, by: str) -> list[Shape]:
    """Shapes that share their kind (or colour) with no shape of another colour (or kind)."""
    other = "colour" if by == "kind" else "kind"
    return [
        shape
        for shape in scene.shapes
        if all(
            getattr(rest, other) == getattr(shape, other)
            for rest in scene.shapes
            if getattr(rest, by) == getattr(shape, by)
        )
    ]
