"""Pictures to learn from come in the order and of the kinds that were asked for, and so do rows."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from recipes.tiny_llava import conversations, course
from recipes.tiny_llava.architecture import new_model, tiny_config
from recipes.tiny_llava.checkpoint import Stage
from recipes.tiny_llava.conversations import Lesson, Writer
from recipes.tiny_llava.course import Course, learn
from recipes.tiny_llava.imagining import Look, imagine
from recipes.tiny_llava.optim import Optimizer
from recipes.tiny_llava.packing import Branch
from recipes.tiny_llava.sights import Sight
from recipes.tiny_llava.tune import looking
from recipes.tiny_llava.wide.things import Writing
from recipes.tiny_llava.world import Scene

MODEL = new_model(tiny_config(500, width=64, depth=2), seed=0)


@pytest.mark.parametrize("look", [imagine(64), looking(MODEL)], ids=["imagined", "drawn"])
def test_writing_stands_between_what_is_asked_about_and_shapes(look: Look) -> None:
    scenes, features = look(np.random.default_rng(0), 2, 1, written=3)
    kinds = [Scene, Scene, Writing, Writing, Writing, Scene]
    assert [type(scene) for scene in scenes] == kinds
    assert features.shape == (6, 64, 64)


def test_a_course_asks_once_about_further_writing(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[type[Sight], int]] = []

    def converse(
        scene: Sight, writer: Writer, rng: np.random.Generator, count: int, lesson: Lesson
    ) -> list[Branch]:
        asked.append((type(scene), count))
        return real(scene, writer, rng, count, lesson)

    real = conversations.converse
    monkeypatch.setattr(course, "converse", converse)
    weights = dict(MODEL.model.language_model.named_parameters())
    plan = Course(lambda _: Lesson(), rate=0.0, seed=1, pictures=2, questions=3, written=2)
    learn(
        MODEL,
        tokenizer,
        Stage("tune", tmp_path / "tune.pt", 1e-6),
        plan,
        weights,
        Optimizer(weights.items(), 0.0),
        imagine(64),
    )
    assert asked == [(Scene, 3), (Scene, 3), (Writing, 1), (Writing, 1)]
