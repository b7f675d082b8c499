"""Learning to call tools, and to count and place better, after the tuning on drawings.

Rows of conversations with tools and JSON, a few of them about a picture, stand beside rows of
questions about drawings, so that what was learned is not lost. The eye stays frozen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import LlavaForConditionalGeneration

from .checkpoint import Stage
from .conversations import Lesson, Writer, converse, lectures, pack
from .copying import ground_copying
from .language import Look, learn
from .optim import Optimizer
from .team import Team
from .tune import looking

LESSON = Lesson(spatial=0.12, shown=1, unseen=2, length=450)


def talk(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    path: Path,
    minutes: float,
    *,
    pictures: int = 2,
    questions: int = 16,
    lesson: Lesson = LESSON,
    rate: float = 1.2e-3,
    seed: int = 53,
    team: Team | None = None,
) -> None:
    """Train language model and projector in place for ``minutes``, from ``path`` if it exists."""
    stage = Stage("talk", path, minutes)
    weights = {
        name: parameter
        for name, parameter in model.named_parameters()
        if "language_model" in name or "multi_modal_projector" in name
    }
    look = looking(model)
    if not path.exists():
        prepare(model, tokenizer, look, seed)
    optimizer = Optimizer(weights.items(), rate, paces={"projector": 0.04, "embed_tokens": 0.6})
    learn(
        model,
        tokenizer,
        stage,
        weights,
        optimizer,
        look,
        pictures,
        questions,
        seed,
        lesson=lambda _: lesson,
        hold=0.78,
        guide=0.2,
        emphasis=3.0,
        team=team,
    )


@torch.no_grad()
def prepare(
    model: LlavaForConditionalGeneration, tokenizer: Tokenizer, look: Look, seed: int
) -> None:
    """Lay down the start for copying, fitted on a few dozen conversations."""
    rng = np.random.default_rng((seed, 1 << 31))
    writer = Writer(tokenizer)
    scenes, features = look(rng, 4)
    rows = [converse(scene, writer, rng, 8) for scene in scenes]
    rows += [lectures(writer, rng, 500) for _ in range(24)]
    ground_copying(model, pack(rows), features)
