"""Questions to examine a model with: pictures, seeds and words that no stage is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from . import held_out, stranger
from .draw import draw, square
from .manners import spoken
from .questions import ASKERS
from .sights import ask_sight, draw_sight, sample_sight
from .wide import stranger as wide_stranger
from .wide.questions import KINDS as WIDE_KINDS
from .world import sample_scene

OWN = (*ASKERS, *WIDE_KINDS)
STRANGER = (
    *(kind for kind in ASKERS if kind.split(" ")[0] in stranger.WORDS),
    *wide_stranger.KINDS,
    "box",
    "caption",
)
_SEED = 1_000_003
"""Evaluation draws from seeds ``(_SEED, …)``; no stage of training does."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question about one picture, already padded to 112×112 RGB."""

    kind: str
    question: str
    answer: str
    image: Image.Image


def own_items(each: int, seed: int = 0, kinds: Sequence[str] = OWN) -> list[Item]:
    """``each`` questions a kind, one a picture, drawn and asked as in training."""
    rng = np.random.default_rng((_SEED, 1, seed))
    items: list[Item] = []
    for kind in kinds:
        while sum(item.kind == kind for item in items) < each:
            if kind in WIDE_KINDS:
                items += _wide_item(kind, rng)
                continue
            scene = sample_scene(rng)
            question = ASKERS[kind][1](scene, rng)
            if question is not None:
                picture = square(draw(scene, rng).image)
                items.append(Item(kind, spoken(question, rng), question.answer, picture))
    return items


def _wide_item(kind: str, rng: np.random.Generator) -> list[Item]:
    """A question of that kind, if chance has it; boxes are asked for as they came to be drawn."""
    sight, seed = sample_sight(rng, wide=0.8), int(rng.integers(2**32))
    if ask_sight(sight, np.random.default_rng(seed), more=0.5).kind != kind:
        return []
    drawn = draw_sight(sight, rng)
    question = ask_sight(drawn.scene, np.random.default_rng(seed), more=0.5)
    return [Item(kind, spoken(question, rng), question.answer, square(drawn.image))]


def stranger_items(each: int, seed: int = 0, kinds: Sequence[str] = STRANGER) -> list[Item]:
    """``each`` questions a kind, one a picture, by the second renderer in a stranger's words."""
    rng = np.random.default_rng((_SEED, 2, seed))
    items: list[Item] = []
    for kind in kinds:
        while sum(item.kind == kind for item in items) < each:
            if kind in wide_stranger.KINDS:
                if (found := wide_stranger.item(kind, rng)) is not None:
                    items.append(Item(kind, found[0].text, found[0].answer, square(found[1])))
                continue
            scene, picture = held_out.paint(held_out.sample(rng), rng)
            question = stranger.ask(scene, kind, rng)
            if question is not None:
                items.append(Item(kind, question.text, question.answer, square(picture)))
    return items


def blinded(items: Sequence[Item], seed: int = 0) -> list[Item]:
    """The same questions about uniform noise."""
    rng = np.random.default_rng((_SEED, 3, seed))
    noise = rng.integers(0, 256, (len(items), 112, 112, 3), dtype=np.uint8)
    return [replace(item, image=Image.fromarray(n)) for item, n in zip(items, noise, strict=True)]
