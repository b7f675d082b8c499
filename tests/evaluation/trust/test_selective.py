"""Thresholds for a coverage, and the curve of risk and coverage."""

from __future__ import annotations

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.trust.calibration import Outcome
from llava_tools.evaluation.trust.selective import (
    accuracy_at_coverage,
    area_under_risk_coverage,
    risk_coverage,
    threshold_for_coverage,
)

OUTCOMES = [
    Outcome(0.5, False),
    Outcome(0.9, True),
    Outcome(0.6, False),
    Outcome(0.8, True),
    Outcome(0.7, True),
]


@pytest.mark.parametrize(
    ("coverage", "threshold", "accuracy"),
    [(0.2, 0.9, 1.0), (0.6, 0.7, 1.0), (0.61, 0.6, 0.75), (0.8, 0.6, 0.75), (1.0, 0.5, 0.6)],
)
def test_a_threshold_answers_a_share(coverage: float, threshold: float, accuracy: float) -> None:
    assert threshold_for_coverage(OUTCOMES, coverage) == threshold
    assert accuracy_at_coverage(OUTCOMES, coverage) == pytest.approx(accuracy)


def test_rounding_adds_no_answer() -> None:
    outcomes = [Outcome(number / 100, True) for number in range(100)]
    for percent in range(1, 101):
        threshold = threshold_for_coverage(outcomes, percent / 100)
        assert sum(item.confidence >= threshold for item in outcomes) == percent


def test_equal_confidences_are_kept_together() -> None:
    outcomes = [Outcome(0.9, True), Outcome(0.9, False), Outcome(0.1, True)]
    assert accuracy_at_coverage(outcomes, 1 / 3) == 0.5
    assert risk_coverage(outcomes) == [(pytest.approx(2 / 3), 0.5), (1.0, pytest.approx(1 / 3))]


def test_the_area_by_hand() -> None:
    assert risk_coverage(OUTCOMES)[3] == (0.8, 0.25)
    assert area_under_risk_coverage(OUTCOMES) == pytest.approx(0.2 * (0.25 + 0.4))
    assert area_under_risk_coverage([Outcome(0.3, True)]) == 0.0


@pytest.mark.parametrize("coverage", [0, -1, 1.1, float("nan")])
def test_impossible_coverages_are_refused(coverage: float) -> None:
    with pytest.raises(RequestError, match="coverage="):
        threshold_for_coverage(OUTCOMES, coverage)
    with pytest.raises(RequestError, match="no outcomes"):
        threshold_for_coverage([], 0.5)
