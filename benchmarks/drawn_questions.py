"""Questions with a closed set of answers about drawn images, and POPE-style ones about existence.

Images and questions are those of `recipes.drawn_world`, whose seeds no stage of the embedded
model's training uses. `FIT` and `REPORT` are seeds apart from each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llava_tools.images import ImageRef, open_image
from recipes.drawn_world import DrawnExample, Renderer, draw_example
from recipes.tiny_llava.questions import PLACES
from recipes.tiny_llava.things import COLOURS, SHAPES

#: First seeds of the images that calibrations are fitted on, and of those that are reported.
FIT, REPORT = 1_000_000, 2_000_000
#: Kinds of questions of both renderers whose answers are among few.
KINDS = (
    "colour", "shape", "background", "position", "relation", "exist", "stamp there", "count",
    "count colour", "count shape", "count both", "count bars", "count lines", "stamp",
    "bar's colour", "tallest", "shortest",
)  # fmt: skip
#: How POPE chooses what is not there: any object, a frequent one, or one like those that are there.
SETTINGS = ("random", "popular", "adversarial")
#: Frequent objects among which the popular ones are chosen.
_POPULAR = 12

Thing = tuple[str, str]
_THINGS: tuple[Thing, ...] = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)


@dataclass(frozen=True)
class ChoiceQuestion:
    """A question, its possible answers and the right one."""

    renderer: Renderer
    kind: str
    seed: int
    image: ImageRef
    question: str
    labels: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class ExistenceQuestion:
    """Whether a thing is in an image.

    Attributes:
        setting: One of `SETTINGS`, or `there` for a thing that is there, which is asked about in
            all of them.
    """

    renderer: Renderer
    seed: int
    image: ImageRef
    thing: str
    setting: str

    @property
    def question(self) -> str:
        """POPE's question."""
        article = "an" if self.thing[0] in "aeiou" else "a"
        return f"Is there {article} {self.thing} in the image?"


def _labels(kind: str, answer: str) -> tuple[str, ...]:
    """Return what a question of a kind may be answered, given its right answer."""
    if kind.startswith("count"):
        return tuple("012345678")
    if answer in ("yes", "no"):
        return "yes", "no"
    if kind in ("shape", "relation"):
        return SHAPES
    return tuple(place for row in PLACES for place in row) if kind == "position" else COLOURS


def choice_question(renderer: Renderer, kind: str, seed: int) -> ChoiceQuestion | None:
    """Draw a question; None if its answer is none of the labels, such as a bar's letter."""
    example = draw_example(kind, seed, renderer)
    among = _labels(kind, example.answer)
    if example.answer not in among:
        return None
    image = open_image(example.image)
    return ChoiceQuestion(renderer, kind, seed, image, example.question, among, example.answer)


def existence_questions(
    renderer: Renderer, first_seed: int, images: int
) -> Iterator[ExistenceQuestion]:
    """Yield eight questions for each image: two things that are there, two of each setting.

    Images without a shape are left out, so that half of each setting's answers are yes. A popular
    thing is one of the most frequent in these images. An adversarial one has the colour
    of a shape and the form of another one in its image, as what often occurs together in POPE.
    """
    seeds = range(first_seed, first_seed + images)
    examples = {seed: draw_example("count", seed, renderer) for seed in seeds}
    examples = {seed: example for seed, example in examples.items() if example.objects}
    frequencies = Counter(thing for example in examples.values() for thing in _there(example))
    popular = [thing for thing, _ in frequencies.most_common(_POPULAR)]
    for seed, example in examples.items():
        rng = np.random.default_rng((seed, len(example.objects)))
        there = _there(example)
        absent = [thing for thing in _THINGS if thing not in there]
        colours, shapes = ({thing[part] for thing in there} for part in (0, 1))
        near = [c for c in absent if c[0] in colours and c[1] in shapes]
        half = [c for c in absent if (c[0] in colours) != (c[1] in shapes)]
        chosen = {
            "there": _pick(there, rng),
            "random": _pick(absent, rng),
            "popular": _pick([thing for thing in popular if thing in absent], rng),
            "adversarial": near[:2] if len(near) == 2 else _pick(near or half, rng),
        }
        image = open_image(example.image)
        for setting, things in chosen.items():
            for thing in things:
                yield ExistenceQuestion(renderer, seed, image, " ".join(thing), setting)


def _there(example: DrawnExample) -> list[Thing]:
    return sorted({(item.colour, item.shape) for item in example.objects})


def _pick(things: list[Thing], rng: np.random.Generator) -> list[Thing]:
    """Return two things; the same one twice if there is no other, so that all sets are balanced."""
    if len(things) < 2:
        return things * 2
    return [things[place] for place in rng.choice(len(things), 2, replace=False)]
