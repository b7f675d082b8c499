"""Fitting temperatures and biases, and the calibration error."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llava_tools.core.calibration import UNCHANGED, Scaling
from llava_tools.evaluation.trust.calibration import (
    ExistencePrediction,
    Outcome,
    Prediction,
    expected_calibration_error,
    fit_choice,
    fit_yes_no,
)
from llava_tools.label_scoring import YES_OR_NO, classify, log_odds, yes_probability


def _choices(temperature: float, number: int = 2000) -> list[Prediction]:
    """Draw answers that the scores predict at a temperature."""
    rng = random.Random(1)
    found = []
    for _ in range(number):
        scores = [rng.gauss(0, 3) - 20 for _ in range(4)]
        weights = [math.exp(score / temperature) for score in scores]
        found.append(Prediction(scores, rng.choices(range(4), weights)[0]))
    return found


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_the_temperature_is_recovered(temperature: float) -> None:
    scaling = fit_choice(_choices(temperature))
    assert scaling.temperature == pytest.approx(temperature, rel=0.1)
    assert (scaling.bias, scaling.count) == (0.0, 2000)


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (3.0, -1.0), (0.5, 0.7)])
def test_temperature_and_bias_of_yes_and_no_are_recovered(temperature: float, bias: float) -> None:
    rng = random.Random(2)
    found = []
    for _ in range(3000):
        item = ExistencePrediction(rng.gauss(0, 3), is_shown=True)
        is_shown = rng.random() < item.probability(Scaling(temperature, bias))
        found.append(ExistencePrediction(item.odds, is_shown))
    scaling = fit_yes_no(found)
    assert scaling.temperature == pytest.approx(temperature, rel=0.15)
    assert scaling.bias == pytest.approx(bias, abs=0.2)
    assert scaling.count == 3000


def test_fitting_lowers_the_error() -> None:
    predictions = _choices(3.0)
    scaling = fit_choice(predictions[:1000])
    before = expected_calibration_error([item.outcome() for item in predictions[1000:]])
    after = expected_calibration_error([item.outcome(scaling) for item in predictions[1000:]])
    assert before > 0.2
    assert after < before / 3


def test_few_right_answers_do_not_make_a_model_certain() -> None:
    scaling = fit_choice([Prediction([0.0, -5.0], 0)] * 10)
    (outcome,) = {Prediction([0.0, -5.0], 0).outcome(scaling)}
    assert outcome.confidence == pytest.approx(11 / 12, abs=1e-6)
    statements = [ExistencePrediction(4.0, True)] * 8 + [ExistencePrediction(-4.0, False)] * 8
    scaling = fit_yes_no(statements)
    assert statements[0].probability(scaling) == pytest.approx(0.9, abs=1e-6)


def test_without_answers_nothing_is_fitted() -> None:
    assert fit_choice([]) == fit_yes_no([]) == UNCHANGED
    assert fit_yes_no([ExistencePrediction(1.0, True)] * 5) == UNCHANGED


def test_odds_that_say_nothing_get_the_highest_temperature() -> None:
    items = [ExistencePrediction(odds, is_shown) for odds in (-3.0, 3.0) for is_shown in (0, 1)]
    scaling = fit_yes_no([*items, ExistencePrediction(3.0, False)])  # even a little wrong
    assert scaling.temperature == pytest.approx(50)
    assert all(0.3 < item.probability(scaling) < 0.5 for item in items)


def test_calibration_error_by_hand() -> None:
    outcomes = [
        Outcome(0.30, False),  # (4/15, 5/15]: 0.30 sure, none right
        Outcome(0.90, True),  # (13/15, 14/15]: 0.91 sure on average, 0.5 right
        Outcome(0.92, False),
        Outcome(1.00, True),  # (14/15, 1]: right
    ]
    assert expected_calibration_error(outcomes) == pytest.approx(
        0.25 * 0.30 + 0.5 * 0.41 + 0.25 * 0.0
    )
    assert expected_calibration_error(outcomes, bins=1) == pytest.approx(0.78 - 0.5)
    assert expected_calibration_error([Outcome(0.0, False)]) == 0.0


def test_the_edge_of_a_bin_belongs_to_the_bin_below() -> None:
    outcomes = [Outcome(0.2, True), Outcome(0.1, False)]
    assert expected_calibration_error(outcomes, bins=5) == pytest.approx(0.5 - 0.15)


@given(
    st.lists(st.floats(-500, 0), min_size=2, max_size=6, unique=True),
    st.floats(0.05, 50),
)
@example([-4.397345591070771e-16, 0.0], 8.0)
def test_a_temperature_changes_no_choice(scores: list[float], temperature: float) -> None:
    labels = [str(number) for number in range(len(scores))]
    raw = classify(labels, scores, None)
    scaled = classify(labels, scores, None, Scaling(temperature))
    assert scaled.label == raw.label
    assert sum(scaled.probabilities.values()) == pytest.approx(1)


@given(st.lists(st.floats(-500, 0), min_size=4, max_size=4))
def test_scaled_yes_is_the_raw_one_at_temperature_1(scores: list[float]) -> None:
    raw = yes_probability(scores)
    assert yes_probability(scores, Scaling(1.0, 0.0, 5)) == pytest.approx(raw, abs=1e-12)
    assert len(YES_OR_NO) == 4
    higher = yes_probability(scores, Scaling(1.0, 0.5, 5))
    assert higher >= raw - 1e-12
    assert ExistencePrediction(log_odds(scores), True).probability() == pytest.approx(raw)
