"""Questions to examine a model with: pictures, seeds and words that no stage trains on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from . import questions, render, sample, stranger
from .questions import KINDS, Question, overlap, read_box
from .things import Drawing

#: The examination draws from seeds `(SEED, ...)`; no training does.
SEED = 1_000_003
#: How much of a box has to be right: intersection over union.
LEAST_OVERLAP = 0.6


@dataclass(frozen=True, slots=True)
class Item:
    """A question about an image, padded to 112 x 112 pixels, with its exact answer."""

    kind: str
    image: Image.Image
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Score:
    """Right answers to `total` questions, and how many the most frequent answer would get."""

    right: int
    total: int
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
    """Return `each` questions a kind, one a picture, drawn and worded as in training."""
    return _items(draw_question, questions.spoken, each, (1, seed), kinds)


def stranger_items(each: int, seed: int = 0, kinds: Sequence[str] = stranger.KINDS) -> list[Item]:
    """Return `each` questions a kind, one a picture, of the second renderer in its own words."""
    return _items(stranger.draw_question, lambda question, _: question.text, each, (2, seed), kinds)


def _items(
    draw: Any, word: Any, each: int, seed: tuple[int, int], kinds: Sequence[str]
) -> list[Item]:
    items: list[Item] = []
    for number, kind in enumerate(kinds, start=1):
        rng = np.random.default_rng((SEED, *seed, KINDS.index(kind)))
        while len(items) < number * each:
            if (found := draw(kind, rng)) is not None:  # by chance there is none
                image, question = render.square(found[0].image), found[1]
                items.append(Item(kind, image, word(question, rng), question.answer))
    return items


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
        right = sum(true == a or (kind == "box" and _near(true, a)) for true, a in pairs)
        commonest = Counter(true for true, _ in pairs).most_common(1)[0][1]
        scores[kind] = Score(right, len(pairs), commonest)
    return scores


def _near(true: str, answer: str) -> bool:
    box, found = read_box(true), read_box(answer)
    return box is not None and found is not None and overlap(box, found) >= LEAST_OVERLAP
