"""Visual instruction tuning: the language model and, slowly, the projector, on real drawings.

What LLaVA calls its second stage. Drawn pictures go through the frozen eye; conversations about
them are learned from, the loss counting what the assistant says. The projector learns at a
twelfth of the pace: at the full one, features that the eye had learned well are lost.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from .architecture import normalise, see
from .checkpoint import Stage
from .conversations import Lesson, leaning
from .course import Course, learn
from .draw import draw, square
from .imagining import Look
from .optim import Optimizer
from .sights import Sight, draw_sight, sample_sight
from .team import Team
from .wide.sample import sample_writing
from .world import sample_scene

LESSON = Lesson(spatial=0.1, shown=1, unseen=2, length=450, react=0.2, opened=1)
"""Most questions are about drawings; tools are kept up, sometimes beside a picture."""
WRITTEN = 0.25
"""Share of writing among what is not shapes: less than elsewhere, for charts and pages are asked
about in more ways, and have writing, too."""
TUNING = Course(lambda _: LESSON, rate=8e-4, seed=37, hold=0.35, ahead=0.4)


def wide_lesson(step: int) -> Lesson:
    """Boxes, captions and where things are, at first mostly what comes first."""
    return replace(
        LESSON,
        spatial=0.3,
        leaning=leaning(step),
        compared=3,
        more=0.35,
        unseen=3,
        react=0.07,
        length=560,
    )


WIDE_TUNING = replace(
    TUNING,
    lesson=wide_lesson,
    pictures=14,
    questions=3,
    written=8,
    read=0.3,
    tally=0.3,
    doubtful=True,
    choose=0.3,
    emphasis=2.0,
)
"""The same for a model that knows of writing, charts, pages, boxes and captions.

Many pictures and few questions about each, for an eye errs in many ways at what is written, and
there is but one thing to ask of a word; more questions where things are, which are learned late.
Calls of tools, which are learned later still, have more rows and count more than before.
"""


def looking(model: LlavaForConditionalGeneration, wide: float = 0.0) -> Look:
    """Pictures, drawn and seen through the model's own eye; only the projector has gradients.

    A share ``wide`` of them shows writing, charts or pages.
    """

    def look(
        rng: np.random.Generator, count: int, shapes: int, written: int = 0
    ) -> tuple[list[Sight], Tensor]:
        scenes = [sample_sight(rng, wide, writing=WRITTEN) for _ in range(count)]
        scenes += [sample_writing(rng) for _ in range(written)]
        drawn = [draw_sight(scene, rng) for scene in scenes]
        drawn += [draw(sample_scene(rng), rng) for _ in range(shapes)]
        pictures = [square(one.image) for one in drawn]
        pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
        with torch.no_grad():
            features = see(model, normalise(pixels))
        projected: Tensor = model.model.multi_modal_projector(features)
        return [one.scene for one in drawn], projected

    return look


def tune(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    path: Path,
    minutes: float,
    course: Course = TUNING,
    *,
    wide: float = 0.0,
    team: Team | None = None,
) -> None:
    """Tune language model and projector in place for ``minutes``, from ``path`` if it exists.

    A share ``wide`` of the pictures shows writing, charts or pages.
    """
    stage = Stage("tune", path, minutes)
    weights = {
        name: parameter
        for name, parameter in model.named_parameters()
        if "language_model" in name or "multi_modal_projector" in name
    }
    paces = {"projector": 0.08, "embed_tokens": 0.3}
    optimizer = Optimizer(weights.items(), course.rate, paces=paces)
    learn(model, tokenizer, stage, course, weights, optimizer, looking(model, wide), team)
