"""The questions of the calibration benchmark, and its figures."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.calibration import Sizes, fitted_existence, key, pope_figures, questions
from benchmarks.drawn_questions import SETTINGS, choice_question, existence_questions
from recipes.drawn_world import RENDERERS, Renderer


@pytest.mark.parametrize("renderer", RENDERERS)
def test_half_of_each_settings_answers_are_yes(renderer: Renderer) -> None:
    counts = Counter(item.setting for item in existence_questions(renderer, 50, 6))
    assert set(counts) == {"there", *SETTINGS}
    assert len(set(counts.values())) == 1


def test_things_are_there_or_not_as_their_setting_has_it() -> None:
    items = list(existence_questions("training", 50, 6))
    there = {(item.seed, item.thing) for item in items if item.setting == "there"}
    absent = {(item.seed, item.thing) for item in items if item.setting != "there"}
    assert there
    assert not there & absent
    assert items[0].question.startswith("Is there a")


def test_half_of_the_fitted_answers_are_yes() -> None:
    counts = Counter(item.setting == "there" for item in fitted_existence(12))
    assert abs(counts[True] - counts[False]) <= 12 * 2 // 3


def test_no_image_is_fitted_and_reported() -> None:
    keys = [(split, key(split, item)) for split, item in questions(Sizes(1, 3, 1, 3))]
    seeds = {
        split: {name.split()[2] for found, name in keys if found == split}
        for split in ("fit", "report")
    }
    assert seeds["fit"]
    assert seeds["report"]
    assert not seeds["fit"] & seeds["report"]


def test_labels_hold_the_answer() -> None:
    item = choice_question("evaluation", "count both", 3)
    assert item is not None
    assert item.labels == tuple("012345678")
    assert item.answer in item.labels


def test_popes_figures_by_hand() -> None:
    answers = [True, True, False, False, True]
    truths = [True, False, False, True, True]
    figures = pope_figures(answers, truths)
    assert figures == {
        "accuracy": 0.6,
        "precision": 0.6667,
        "recall": 0.6667,
        "f1": 0.6667,
        "yes": 0.6,
    }
