"""`DrawnItem`: an image with several questions, each with wrong answers beside the right one.

The first question is that of `recipes.drawn_world`, in its words; those about shapes are followed
by others that the places, colours and number of the shapes answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from recipes.drawn_world import DrawnObject, draw_example
from recipes.tiny_llava.things import COLOURS, SHAPES
from recipes.tiny_llava.words import PLURALS, lexicon

#: Kinds whose answer is written in the image.
TEXT_KINDS = ("number", "word", "letters", "title", "stamp's word")
#: Kinds about shapes whose answers are colours, shapes, numbers, yes or no.
SHAPE_KINDS = ("colour", "shape", "count", "exist", "background", "relation")
#: Kinds about charts and pages.
PAGE_KINDS = ("tallest", "bar's colour", "count bars", "total", "stamp", "count lines")

_PLACES = (
    *("top left", "top", "top right", "left", "center"),
    *("right", "bottom left", "bottom", "bottom right"),
)
_BARS = ("A", "B", "C", "D", "E", "F")


@dataclass(frozen=True)
class DrawnQuestion:
    """A question about an image.

    Attributes:
        kind: One of the drawn world's kinds.
        text: Its words.
        answer: The right answer.
        wrong: At least one wrong answer of the same sort, up to three.
    """

    kind: str
    text: str
    answer: str
    wrong: tuple[str, ...]

    def options(self, rng: np.random.Generator, most: int = 4) -> tuple[tuple[str, ...], int]:
        """Return options in random order, and the right one's position."""
        wrong = [str(text) for text in rng.permutation(self.wrong)][: most - 1]
        position = int(rng.integers(len(wrong) + 1))
        return (*wrong[:position], self.answer, *wrong[position:]), position


@dataclass(frozen=True)
class DrawnItem:
    """An image and what is asked about it.

    Attributes:
        image: RGB.
        questions: The drawn world's own one, then others about its shapes, if it has any.
        objects: The shapes in the image.
    """

    image: Image.Image
    questions: tuple[DrawnQuestion, ...]
    objects: tuple[DrawnObject, ...]


def draw_item(kind: str, seed: int) -> DrawnItem:
    """Draw an image of a kind with its questions; the same seed draws the same."""
    example = draw_example(kind, seed)
    rng = np.random.default_rng((_number(kind), seed))
    first = DrawnQuestion(
        kind, example.question, example.answer, wrong_answers(kind, example.answer, rng)
    )
    others = shape_questions(example.objects, rng) if example.objects else ()
    return DrawnItem(example.image, (first, *others), example.objects)


def wrong_answers(kind: str, answer: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Return wrong answers that look like the right one."""
    for group in (COLOURS, SHAPES, _PLACES, _BARS):
        if answer in group:
            return _some(group, answer, rng)
    if answer in ("yes", "no"):
        return ("no" if answer == "yes" else "yes",)
    if kind.startswith("count"):
        near = [str(number) for number in range(max(0, int(answer) - 2), int(answer) + 3)]
        return _some(near, answer, rng)
    if any(character.isdigit() for character in answer):
        return _some([_with_other_digit(answer, rng) for _ in range(8)], answer, rng)
    words = [_in_case_of(answer, str(word)) for word in rng.choice(lexicon(), size=8)]
    return _some(words, answer, rng)


def shape_questions(
    objects: Sequence[DrawnObject], rng: np.random.Generator
) -> tuple[DrawnQuestion, ...]:
    """Return questions that the shapes of an image answer: existence, number and colour."""
    shapes = [drawn.shape for drawn in objects]
    pairs = {(drawn.colour, drawn.shape) for drawn in objects}
    colour, shape = sorted(pairs)[int(rng.integers(len(pairs)))]
    counted = str(rng.choice(SHAPES))
    general = [
        existence_question(colour, shape, there=True),
        existence_question(*absent_pair(pairs, rng), there=False),
        _count_question("count", "shapes", len(objects), rng),
        _count_question("count shape", PLURALS[counted][0], shapes.count(counted), rng),
    ]
    single = [drawn for drawn in objects if shapes.count(drawn.shape) == 1]
    colours = [
        DrawnQuestion(
            "colour",
            f"What color is the {drawn.shape}?",
            drawn.colour,
            _some(COLOURS, drawn.colour, rng),
        )
        for drawn in single
    ]
    return (*general, *colours)


def existence_question(colour: str, shape: str, *, there: bool) -> DrawnQuestion:
    """Return POPE's question for a coloured shape, which is there or not."""
    answer, wrong = ("yes", "no") if there else ("no", "yes")
    article = "an" if colour == "orange" else "a"
    return DrawnQuestion(
        "exist", f"Is there {article} {colour} {shape} in the image?", answer, (wrong,)
    )


def absent_pair(present: set[tuple[str, str]], rng: np.random.Generator) -> tuple[str, str]:
    """Return a colour and a shape that no object has together."""
    absent = [
        (colour, shape) for colour in COLOURS for shape in SHAPES if (colour, shape) not in present
    ]
    return absent[int(rng.integers(len(absent)))]


def _count_question(kind: str, plural: str, number: int, rng: np.random.Generator) -> DrawnQuestion:
    answer = str(number)
    return DrawnQuestion(
        kind, f"How many {plural} are there?", answer, wrong_answers(kind, answer, rng)
    )


def _some(group: Sequence[str], answer: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Return up to three different members that are not the answer."""
    others = sorted({text for text in group if text != answer})
    return tuple(str(text) for text in rng.permutation(others)[:3])


def _with_other_digit(answer: str, rng: np.random.Generator) -> str:
    positions = [number for number, character in enumerate(answer) if character.isdigit()]
    position = positions[int(rng.integers(len(positions)))]
    return f"{answer[:position]}{int(rng.integers(1, 10))}{answer[position + 1 :]}"


def _in_case_of(model: str, word: str) -> str:
    if model.isupper():
        return word.upper()
    return word.capitalize() if model[:1].isupper() else word.lower()


def _number(kind: str) -> int:
    """Return a seed for a kind; `hash` differs from process to process."""
    return int.from_bytes(kind.encode(), "big") % 2**31
