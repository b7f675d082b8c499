"""Questions to examine a model with: pictures, seeds and words that no stage trains on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from . import questions, render, sample, stranger
from .questions import KINDS, Question, overlap, read_box
from .things import Drawing

#: The examination draws from seeds `(SEED, ...)`; no training does.
SEED = 1_000_003
#: How much of a box has to be right: intersection over union.
LEAST_OVERLAP = 0.6
#: From a kind to a drawing and a question about it, None if chance has none.
Drawer = Callable[[str, np.random.Generator], tuple[Drawing, Question] | None]


@dataclass(frozen=True, slots=True)
class Item:
    """A question about an image, padded to 112 x 112 pixels, with its exact answer."""

    kind: str
    image: Image.Image
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Score:
    """Right answers to `asked` questions, and how many the most frequent answer would get."""

    right: int
    asked: int
    commonest: int


def draw_question(kind: str, rng: np.random.Generator) -> tuple[Drawing, Question] | None:
    """Return a picture of the training renderer with such a question, None if chance has none."""
    picture, seed = sample.sample(rng, wide=0.7), int(rng.integers(2**32))
    if questions.ask(picture, np.random.default_rng(seed), kind) is None:
        return None
    drawing = render.draw(picture, rng)
    # Asked again, since boxes are known once a picture is drawn.
    question = questions.ask(drawing.picture, np.random.default_rng(seed), kind)
    return None if question is None else (drawing, question)


def own_items(each: int, seed: int = 0, kinds: Sequence[str] = KINDS) -> list[Item]:
    """Return `each` questions a kind, one a picture, drawn and asked as in training."""
    return [
        Item(kind, render.square(drawing.image), questions.spoken(question, rng), question.answer)
        for kind in kinds
        for drawing, question, rng in drawn(draw_question, kind, each, (1, seed))
    ]


def stranger_items(each: int, seed: int = 0, kinds: Sequence[str] = stranger.KINDS) -> list[Item]:
    """Return `each` questions a kind, one a picture, of the second renderer in its own words."""
    return [
        Item(kind, render.square(drawing.image), question.text, question.answer)
        for kind in kinds
        for drawing, question, _ in drawn(stranger.draw_question, kind, each, (2, seed))
    ]


def drawn(
    draw: Drawer, kind: str, count: int, seed: tuple[int, int]
) -> Iterator[tuple[Drawing, Question, np.random.Generator]]:
    """Yield `count` drawings and questions of a kind, and the generator that they came from."""
    rng = np.random.default_rng((SEED, *seed, KINDS.index(kind)))
    while count > 0:
        if (found := draw(kind, rng)) is not None:
            yield (*found, rng)
            count -= 1


def blinded(items: Sequence[Item], seed: int = 0) -> list[Item]:
    """Return the same questions about uniform noise."""
    rng = np.random.default_rng((SEED, 3, seed))
    noise = rng.integers(0, 256, (len(items), 112, 112, 3), dtype=np.uint8)
    return [replace(item, image=Image.fromarray(n)) for item, n in zip(items, noise, strict=True)]


def score(items: Sequence[Item], answers: Sequence[str]) -> dict[str, Score]:
    """Return scores by kind: exact answers are right, and boxes that overlap the true one."""
    scores = {}
    for kind in dict.fromkeys(item.kind for item in items):
        pairs = [(i.answer, a) for i, a in zip(items, answers, strict=True) if i.kind == kind]
        commonest = Counter(true for true, _ in pairs).most_common(1)[0][1]
        right = sum(true == a or (kind == "box" and _near(true, a)) for true, a in pairs)
        scores[kind] = Score(right, len(pairs), commonest)
    return scores


def _near(true: str, answer: str) -> bool:
    boxes = read_box(true), read_box(answer)
    return bool(boxes[0] and boxes[1] and overlap(boxes[0], boxes[1]) >= LEAST_OVERLAP)
