"""Selective answers: a model that answers only what it is sure of, and how often it is then right.

threshold = threshold_for_coverage(outcomes, 0.8)   # of images like those to come
model.choose(question, image, labels, abstain=threshold)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from llava_tools.errors import RequestError
from llava_tools.evaluation.trust.calibration import Outcome, accuracy


def threshold_for_coverage(outcomes: Sequence[Outcome], coverage: float) -> float:
    """Return the highest `abstain` of `Llava.choose` with which a share of questions is answered.

    Args:
        outcomes: Of labelled questions, at least one, with calibrated confidences if the model
            that answers has a calibration.
        coverage: Share of the questions to be answered, above 0, at most 1.

    Raises:
        RequestError: The coverage is impossible, or there is no outcome.
    """
    if not 0 < coverage <= 1:
        raise RequestError(f"coverage={coverage!r} is not possible.", "Use a share like 0.8.")
    if not outcomes:
        raise RequestError("There are no outcomes.", "Answer labelled questions first.")
    ranked = sorted((item.confidence for item in outcomes), reverse=True)
    # Rounded, since 0.07 * 100 is more than 7.
    return ranked[max(math.ceil(round(coverage * len(ranked), 9)), 1) - 1]


def accuracy_at_coverage(outcomes: Sequence[Outcome], coverage: float) -> float:
    """Return the share of right answers, 0 to 1, among those that `threshold_for_coverage` keeps.

    Raises:
        RequestError: See `threshold_for_coverage`.
    """
    threshold = threshold_for_coverage(outcomes, coverage)
    return accuracy([item for item in outcomes if item.confidence >= threshold])


def risk_coverage(outcomes: Sequence[Outcome]) -> list[tuple[float, float]]:
    """Return the curve of coverage and risk, the share of wrong answers, from the surest answer on.

    Answers of equal confidence come together, so there is a point for each confidence.
    """
    ranked = sorted(outcomes, key=lambda item: -item.confidence)
    points, wrong = [], 0
    for count, item in enumerate(ranked, start=1):
        wrong += not item.is_right
        if count == len(ranked) or ranked[count].confidence < item.confidence:
            points.append((count / len(ranked), wrong / count))
    return points


def area_under_risk_coverage(outcomes: Sequence[Outcome]) -> float:
    """Return the mean risk over all coverages, 0 to 1; less is better (Geifman et al. 2019)."""
    area, covered = 0.0, 0.0
    for coverage, risk in risk_coverage(outcomes):
        area += (coverage - covered) * risk
        covered = coverage
    return area
