"""The drawn world: a seed and a kind in, an image with a question, its answer and its objects out.

    example = draw_example("colour", seed=7)
    example.image, example.question, example.answer, example.objects
    write_dataset(Path("drawn"), ["colour", "shape"], count=200)

Training, evaluation and measurements of evidence stand on this interface; what draws is
`recipes.tiny_llava`, and may change. The same kind, seed and renderer give the same example, as
long as that does not change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from recipes.tiny_llava import exam, questions, stranger
from recipes.tiny_llava.questions import Question
from recipes.tiny_llava.things import COLOURS, Box, Drawing, Scene
from recipes.tiny_llava.words import PLURALS, SINGULARS

#: The training renderer with the wordings of training, or the second renderer with its own, which
#: nothing is trained on.
Renderer = Literal["training", "evaluation"]
RENDERERS: tuple[Renderer, ...] = ("training", "evaluation")

_LONG = ("box", "caption")
#: Kinds of questions about shapes, whose objects are known.
SHAPE_KINDS = tuple(kind for kind in questions.TABLES[Scene] if kind not in _LONG)
#: All kinds of questions, by renderer.
KINDS: Mapping[Renderer, tuple[str, ...]] = {
    "training": (*(kind for kind in questions.KINDS if kind not in _LONG), *_LONG),
    "evaluation": stranger.KINDS,
}

#: Seeds of these examples begin with this number; no stage of the embedded model's recipe does.
_WORLD = 7_000_003
_MOST_TRIES = 10_000


@dataclass(frozen=True)
class DrawnObject:
    """A shape in an image.

    Attributes:
        shape: Its name, such as `circle`.
        colour: Its colour's name.
        box: Left, top, right and bottom in pixels of the image.
    """

    shape: str
    colour: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class DrawnExample:
    """A question about a drawn image.

    Attributes:
        kind: One of its renderer's `KINDS`.
        image: RGB, of any proportions.
        question: Its words.
        answer: The right answer, in lower case.
        objects: The shapes in the image; empty for images of writing, charts and pages.
        about: Positions in `objects` of the shapes that a question of the kinds `colour`, `shape`
            or `exist` is about; none for other kinds.
    """

    kind: str
    image: Image.Image
    question: str
    answer: str
    objects: tuple[DrawnObject, ...] = ()
    about: tuple[int, ...] = ()

    def record(self, name: str, image: str) -> dict[str, Any]:
        """Return it as a record of LLaVA's conversation JSON.

        Args:
            name: Id of the record.
            image: Path of the image's file, relative to the folder of images.
        """
        turns = [
            {"from": "human", "value": f"<image>\n{self.question}"},
            {"from": "gpt", "value": self.answer},
        ]
        return {"id": name, "image": image, "conversations": turns}


def draw_example(kind: str, seed: int, renderer: Renderer = "training") -> DrawnExample:
    """Draw an image and ask one question about it.

    Raises:
        ValueError: An unknown kind or renderer.
    """
    if renderer not in KINDS:
        raise ValueError(f"There is no renderer {renderer!r}. Use one of {RENDERERS}.")
    if kind not in KINDS[renderer]:
        raise ValueError(f"There is no kind {kind!r}. Use one of {KINDS[renderer]}.")
    number = KINDS["training"].index(kind)
    rng = np.random.default_rng((_WORLD, RENDERERS.index(renderer), number, seed))
    draw = exam.draw_question if renderer == "training" else stranger.draw_question
    for _ in range(_MOST_TRIES):
        if (found := draw(kind, rng)) is None:
            continue
        if kind not in SHAPE_KINDS or isinstance(found[0].picture, Scene):
            return _example(*found)
    raise AssertionError(f"No image leaves a question of the kind {kind!r}.")


def write_dataset(
    folder: Path,
    kinds: Sequence[str],
    count: int,
    *,
    first_seed: int = 0,
    renderer: Renderer = "training",
) -> Path:
    """Write examples as LLaVA's conversation JSON, `data.json`, and PNG files in `images/`.

    Args:
        folder: New folder, or an empty one.
        kinds: The kinds in turn.
        count: Number of examples.
        first_seed: Seed of the first example; each one has the next.
        renderer: See `Renderer`.

    Returns:
        The path of the JSON file.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    records = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        example = draw_example(kind, first_seed + number, renderer)
        example.image.save(images / f"{number:06}.png")
        records.append(example.record(f"{kind} {first_seed + number}", f"{number:06}.png"))
    path = folder / "data.json"
    path.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    return path


def _example(drawing: Drawing, question: Question) -> DrawnExample:
    longer = max(drawing.image.size)  # the unit of a picture's coordinates
    shapes = drawing.picture.shapes if isinstance(drawing.picture, Scene) else ()
    objects = tuple(
        DrawnObject(shape.kind, shape.colour, _pixels(shape.box, longer))
        for shape in shapes
        if shape.box is not None
    )
    about = _about(question, objects)
    return DrawnExample(
        question.kind, drawing.image, question.text, question.answer, objects, about
    )


def _about(question: Question, objects: Sequence[DrawnObject]) -> tuple[int, ...]:
    """Return which objects a question is about: those that it names, with its answer."""
    if question.kind not in ("colour", "shape", "exist"):
        return ()
    shapes = {name for name in SINGULARS if _names(question, *SINGULARS[name], *PLURALS[name])}
    colours = {name for name in COLOURS if _names(question, name)}
    if question.kind == "colour":
        colours = {question.answer}  # the question may name two, of which one is right
    elif question.kind == "shape":
        shapes = {question.answer}
    return tuple(
        index
        for index, drawn in enumerate(objects)
        if drawn.shape in (shapes or {drawn.shape}) and drawn.colour in (colours or {drawn.colour})
    )


def _names(question: Question, *words: str) -> bool:
    return re.search(rf"\b({'|'.join(words)})\b", question.text.lower()) is not None


def _pixels(box: Box, longer: int) -> Box:
    left, top, right, bottom = (edge * longer for edge in box)
    return left, top, right, bottom
