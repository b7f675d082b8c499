"""The loop that learns to answer: the same on imagined pictures and on drawn ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer
from torch import nn
from transformers import LlavaForConditionalGeneration

from .checkpoint import TOLD, Stage, restore
from .conversations import Lesson, Writer, converse, lectures
from .imagining import Look
from .loss import Weights, step_loss
from .optim import Optimizer, linear_decay
from .packing import Branch, pack
from .precision import quick
from .record import Record
from .sights import Sight
from .talk.lectures import lecture
from .talk.opening import opened
from .talk.react import react
from .team import Team
from .world import Scene

REACT_LENGTH = 1900
"""Tokens of a row of an agent that thinks aloud: most of them its instructions."""


@dataclass(frozen=True, slots=True)
class Course:
    """What is learned, and how: the plan of a stage.

    ``lesson`` says what is asked at a step. A step is about ``pictures`` pictures, with
    ``questions`` questions each, and about ``written`` of writing, with one each. ``rate`` is
    Muon's learning rate, level for a share ``hold`` of the stage and then falling to zero.
    ``guide`` is the weight of :func:`~recipes.tiny_llava.copying.attention_loss` until it falls,
    ``choose`` that of :func:`~recipes.tiny_llava.choosing.choosing_loss`, ``ahead`` that of
    :func:`~recipes.tiny_llava.copying.ahead_loss`, ``read`` that of
    :func:`~recipes.tiny_llava.reading.reading_loss`, ``tally`` that of
    :func:`~recipes.tiny_llava.tallying.tally_loss`, ``emphasis`` that of answers about pictures
    against answers with tools, of whose tokens ``doubtful`` ones count more if it is set.
    """

    lesson: Callable[[int], Lesson]
    rate: float
    seed: int
    pictures: int = 2
    questions: int = 16
    written: int = 0
    hold: float = 0.45
    guide: float = 0.0
    choose: float = 0.0
    read: float = 0.0
    ahead: float = 0.0
    tally: float = 0.0
    emphasis: float = 3.0
    doubtful: bool = False


def learn(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    stage: Stage,
    course: Course,
    weights: dict[str, nn.Parameter],
    optimizer: Optimizer,
    look: Look,
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
        rng = np.random.default_rng((course.seed + team.rank, stage.step))
        lesson = course.lesson(stage.step)
        aloud = rng.random() < lesson.react
        written = 0 if aloud else course.written
        asked = 0 if aloud else course.pictures + written
        told_by = 1 if aloud else lesson.shown + lesson.opened
        scenes, features = look(rng, asked - written, told_by, written)
        shapes = [scene for scene in scenes[asked:] if isinstance(scene, Scene)]
        if aloud:
            scene = shapes[0] if rng.random() < 0.3 else None
            rows = [lectures(writer, rng, REACT_LENGTH, scene, react)]
            features = features[: scene is not None]
        else:
            counts = [course.questions] * course.pictures + [1] * written
            rows = _rows(scenes[:asked], counts, shapes, writer, rng, lesson)
        guide = course.guide * (done < course.hold)
        told = Weights(
            asked,
            course.emphasis,
            course.doubtful,
            guide=guide,
            choose=course.choose,
            read=course.read,
            ahead=course.ahead,
            tally=course.tally,
        )
        with quick():
            loss = step_loss(model, pack(rows), features, told, record)
        loss.backward()
        optimizer.step(linear_decay(done, hold=course.hold))
        stage.step += 1
        done = team.meet(stage.step, weights.values(), stage.done)
        if stage.step % TOLD == 0 and team.leads:
            stage.tell(record.figures())
        if team.leads and (stage.due or done >= 1):
            kept = {name: p.detach() for name, p in weights.items()}
            stage.save(weights=kept, optimizer=optimizer.state())


def _rows(
    asked: list[Sight],
    counts: list[int],
    shapes: list[Scene],
    writer: Writer,
    rng: np.random.Generator,
    lesson: Lesson,
) -> list[list[Branch]]:
    """So many questions about each picture, tools beside shapes, and tools without pictures."""
    rows = [
        converse(scene, writer, rng, count, lesson)
        for scene, count in zip(asked, counts, strict=True)
    ]
    for place, scene in enumerate(shapes):
        make = lecture if place < lesson.shown else opened
        rows.append(lectures(writer, rng, lesson.length, scene, make))
    return rows + [lectures(writer, rng, lesson.length) for _ in range(lesson.unseen)]
