"""The language model, trained to answer about pictures that were never drawn.

Scenes go in as :func:`~llava_tools.train.patches.meaning` in fixed codes, blurred a little as an
eye would blur them, with conversations about them; the loss counts what the assistant says and
its ``</s>``. At the same time the eye learns to produce these very codes from pixels, so the two
fit together without either having waited for the other. :func:`learn` is the loop that tuning on
real drawings shares.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from .architecture import text_width
from .checkpoint import Stage
from .conversations import (
    IGNORED,
    Conversations,
    Lesson,
    Writer,
    converse,
    lectures,
    pack,
)
from .copying import attention_loss, ground_copying
from .grounding import ground_words
from .hearing import hear
from .imagining import Look, imagine
from .optim import Optimizer, linear_decay
from .patches import PATCHES
from .reading import reading_loss
from .record import Record
from .talk.lectures import lecture
from .talk.opening import opened
from .talk.react import react
from .team import Team
from .world import Scene

REACT_LENGTH = 1900
"""Tokens of a row of an agent that thinks aloud: most of them its instructions."""


def train_language(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    path: Path,
    minutes: float,
    *,
    pictures: int = 2,
    questions: int = 16,
    rate: float = 1.2e-3,
    seed: int = 23,
    team: Team | None = None,
) -> None:
    """Train the language model in place on imagined scenes and tools for ``minutes``."""
    stage = Stage("language", path, minutes)
    ground_words(model, tokenizer)
    rng, writer = np.random.default_rng((seed, 1 << 31)), Writer(tokenizer)
    heard = pack([lectures(writer, rng, 450) for _ in range(24)])
    ground_copying(model, heard, torch.zeros(0, PATCHES, text_width(model)))
    weights = dict(model.model.language_model.named_parameters())
    look = imagine(text_width(model))
    optimizer = Optimizer(weights.items(), rate, paces={"embed_tokens": 0.4})
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
        lesson=first_lessons,
        hold=0.45,
        guide=0.3,
        emphasis=3.0,
        team=team,
    )


def continue_language(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    path: Path,
    minutes: float,
    start: Path,
    lesson: Lesson,
    *,
    wide: float = 0.5,
    pictures: int = 2,
    questions: int = 16,
    rate: float = 8e-4,
    seed: int = 53,
    team: Team | None = None,
) -> None:
    """Go on from the language model of the checkpoint ``start``, on a wider imagined world.

    A share ``wide`` of the pictures shows writing, charts or pages. Checkpoints go to ``path``,
    and where there is one it counts rather than ``start``.
    """
    stage = Stage("language", path, minutes)
    weights = dict(model.model.language_model.named_parameters())
    restore(weights, torch.load(start, weights_only=True)["weights"])
    optimizer = Optimizer(weights.items(), rate, paces={"embed_tokens": 0.4})
    learn(
        model,
        tokenizer,
        stage,
        weights,
        optimizer,
        imagine(text_width(model), wide),
        pictures,
        questions,
        seed,
        lesson=lambda _: lesson,
        hold=0.45,
        emphasis=3.0,
        read=0.3 if wide else 0.0,
        team=team,
    )


def first_lessons(step: int) -> Lesson:
    """Exercises first, then plain words, then all manners; tools from the beginning."""
    return Lesson(
        unseen=3,
        length=420,
        spatial=0.1,
        drill=min(1.0, max(0.05, 1.0 - (step - 400) / 150)),
        plain=min(0.9, max(0.1, 0.9 - (step - 500) / 300)),
    )


def learn(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    stage: Stage,
    weights: dict[str, nn.Parameter],
    optimizer: Optimizer,
    look: Look,
    pictures: int,
    questions: int,
    seed: int,
    lesson: Callable[[int], Lesson] = lambda _: Lesson(),
    hold: float = 0.35,
    guide: float = 0.0,
    emphasis: float = 1.0,
    read: float = 0.0,
    team: Team | None = None,
) -> None:
    """Train ``weights`` on conversations about what ``look`` makes, until the stage is over."""
    team = team or Team()
    if (state := stage.load()) is not None:
        restore(weights, state["weights"])
        optimizer.load(state["optimizer"])
    writer = Writer(tokenizer)
    record = Record()
    done = stage.done
    while done < 1:
        rng = np.random.default_rng((seed + team.rank, stage.step))
        manner = lesson(stage.step)
        aloud = rng.random() < manner.react
        asked = 0 if aloud else pictures
        scenes, features = look(rng, asked, 1 if aloud else manner.shown + manner.opened)
        shapes = [scene for scene in scenes[asked:] if isinstance(scene, Scene)]
        if aloud:
            scene = shapes[0] if rng.random() < 0.3 else None
            rows = [lectures(writer, rng, REACT_LENGTH, scene, react)]
            features = features[: scene is not None]
        else:
            rows = [converse(scene, writer, rng, questions, manner) for scene in scenes[:asked]]
            for place, scene in enumerate(shapes):
                make = lecture if place < manner.shown else opened
                rows.append(lectures(writer, rng, manner.length, scene, make))
            rows += [lectures(writer, rng, manner.length) for _ in range(manner.unseen)]
        guided = guide * (done < hold)
        loss = step_loss(model, pack(rows), features, record, guided, asked, emphasis, read)
        loss.backward()
        optimizer.step(linear_decay(done, hold=hold))
        stage.step += 1
        done = team.meet(stage.step, weights.values(), stage.done)
        if stage.step % 25 == 0 and team.leads:
            stage.tell(record.figures())
        if team.leads and (stage.due or done >= 1):
            kept = {name: p.detach() for name, p in weights.items()}
            stage.save(weights=kept, optimizer=optimizer.state())


def step_loss(
    model: LlavaForConditionalGeneration,
    told: Conversations,
    features: Tensor,
    record: Record | None = None,
    guide: float = 0.0,
    asked: int = 0,
    emphasis: float = 1.0,
    read: float = 0.0,
) -> Tensor:
    """Mean cross-entropy over what the assistant says.

    Args:
        model: The model; its eye is not used.
        told: Packed conversations, at most one picture a row.
        features: Projected image features of the rows with a picture, (these rows, 64, width).
        record: Keeps count of right answers by kind.
        guide: Weight of :func:`~llava_tools.train.copying.attention_loss` beside it.
        asked: How many rows, the first ones, count ``emphasis`` times as much.
        emphasis: See ``asked``.
        read: Weight of :func:`~llava_tools.train.reading.reading_loss` beside it.
    """
    passed = hear(model, told, features, states=bool(guide or read))
    hidden = passed.last_hidden_state
    rows, spots = (told.labels != IGNORED).nonzero(as_tuple=True)
    logits = model.lm_head(hidden[rows, spots - 1])
    truth = told.labels[rows, spots]
    if record is not None:
        right = torch.ones_like(told.labels, dtype=torch.bool)
        right[rows, spots] = logits.detach().argmax(-1) == truth
    losses = functional.cross_entropy(logits, truth, reduction="none")
    loud = torch.where(rows < asked, emphasis, 1.0)
    loss = (losses * loud).sum() / loud.sum()
    looks = attention_loss(model, told, passed.hidden_states) if guide else torch.zeros(())
    reads = reading_loss(model, told, passed.hidden_states) if read else torch.zeros(())
    if record is not None:
        record.add(told, right, float(loss.detach()), float((looks + reads).detach()))
    return loss + guide * looks + read * reads


def restore(weights: dict[str, nn.Parameter], saved: dict[str, Tensor]) -> None:
    """Copy saved weights into the parameters of the same names."""
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(saved[name])
