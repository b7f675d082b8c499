"""The language model, trained to answer about pictures that were never drawn.

Scenes go in as :func:`~recipes.tiny_llava.patches.meaning` in fixed codes, blurred a little as an
eye would blur them, with conversations about them; the loss counts what the assistant says and
its ``</s>``. At the same time the eye learns to produce these very codes from pixels, so the two
fit together without either having waited for the other. :func:`learn` is the loop that tuning on
real drawings shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from .architecture import text_width
from .checkpoint import Stage, restore
from .conversations import Lesson, Writer, converse, leaning, lectures
from .copying import ground_copying
from .course import Course, learn
from .grounding import ground_words
from .imagining import imagine
from .optim import Optimizer
from .packing import Conversations, pack
from .patches import PATCHES
from .reading import ground_reading


def first_lessons(step: int) -> Lesson:
    """Exercises first, then plain words, then all manners; tools from the beginning."""
    return Lesson(
        unseen=3,
        length=420,
        spatial=0.1,
        drill=min(1.0, max(0.05, 1.0 - (step - 400) / 150)),
        plain=min(0.9, max(0.1, 0.9 - (step - 500) / 300)),
    )


def wider_lessons(step: int) -> Lesson:
    """Boxes, captions and more of where things are; now and then an agent that thinks aloud."""
    return Lesson(
        spatial=0.3,
        leaning=leaning(step),
        compared=3,
        more=0.25,
        unseen=2,
        length=450,
        react=0.03,
    )


FIRST = Course(first_lessons, rate=1.2e-3, seed=23, guide=0.3)
"""From nothing, on shapes."""
WIDER = Course(
    wider_lessons,
    rate=8e-4,
    seed=53,
    pictures=14,
    questions=3,
    written=8,
    read=0.6,
    ahead=0.3,
    tally=0.5,
    doubtful=True,
    choose=0.3,
)
"""From a language model that knows shapes, on writing, charts and pages, too."""


def train_language(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    path: Path,
    minutes: float,
    course: Course = FIRST,
) -> None:
    """Train the language model in place on imagined scenes and tools for ``minutes``."""
    stage = Stage("language", path, minutes)
    ground_words(model, tokenizer)
    rng, writer = np.random.default_rng((course.seed, 1 << 31)), Writer(tokenizer)
    heard = pack([lectures(writer, rng, 450) for _ in range(24)])
    ground_copying(model, heard, torch.zeros(0, PATCHES, text_width(model)))
    weights, optimizer = _learned(model, course)
    look = imagine(text_width(model))
    learn(model, tokenizer, stage, course, weights, optimizer, look)


def continue_language(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    path: Path,
    minutes: float,
    start: Path,
    course: Course = WIDER,
    *,
    wide: float = 0.5,
    aloud: int = 60,
) -> None:
    """Go on from the language model of the checkpoint ``start``, on a wider imagined world.

    A share ``wide`` of the pictures shows writing, charts or pages. Checkpoints go to ``path``,
    and where there is one it counts rather than ``start``. A model that comes from ``start`` is
    given a start for reading, too, fitted on ``aloud`` batches before the minutes begin.
    """
    weights, optimizer = _learned(model, course)
    look = imagine(text_width(model), wide)
    if not path.exists():
        restore(weights, torch.load(start, weights_only=True)["weights"])
        ground_reading(model, _read_aloud(Writer(tokenizer), text_width(model), course.seed, aloud))
    stage = Stage("language", path, minutes)
    learn(model, tokenizer, stage, course, weights, optimizer, look)


def _read_aloud(
    writer: Writer, width: int, seed: int, batches: int
) -> Iterator[tuple[Conversations, Tensor]]:
    """Conversations about imagined writing, charts and pages, and what is seen of these."""
    look = imagine(width, wide=1.0)
    for number in range(batches):
        rng = np.random.default_rng((seed, 1 << 31, number))
        scenes, features = look(rng, 16, 0)
        yield pack([converse(scene, writer, rng, 3) for scene in scenes]), features


def _learned(
    model: LlavaForConditionalGeneration, course: Course
) -> tuple[dict[str, nn.Parameter], Optimizer]:
    """The language model's weights; its embeddings learn more slowly."""
    weights = dict(model.model.language_model.named_parameters())
    return weights, Optimizer(weights.items(), course.rate, paces={"embed_tokens": 0.4})
