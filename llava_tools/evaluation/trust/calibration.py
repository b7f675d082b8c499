"""Fits calibrations by likelihood, and measures how far probabilities are from frequencies.

A `Prediction` has the log-probabilities of an answer's labels and which one is right. Nothing here
runs a model: `labelled` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llava_tools.core.calibration import UNCHANGED, Scaling
from llava_tools.label_scoring import classify, sigmoid

#: Bins of `expected_calibration_error`.
BINS = 15
#: Temperatures that are tried. A model that makes no error in its data would get none.
_TEMPERATURES = (0.05, 50.0)
_BIASES = (-50.0, 50.0)
_STEPS = 40
_NEWTON_STEPS = 50


@dataclass(frozen=True)
class Prediction:
    """The scores of the labels of one question.

    Attributes:
        scores: Natural log-probability of each label as the whole answer, from `Backend.score`.
        right: Position of the right label.
    """

    scores: Sequence[float]
    right: int

    def outcome(self, scaling: Scaling = UNCHANGED) -> Outcome:
        """Return the probability of the likeliest label, and whether it is right."""
        labels = [str(position) for position in range(len(self.scores))]
        choice = classify(labels, self.scores, None, scaling)
        return Outcome(max(choice.probabilities.values()), choice.label == str(self.right))


@dataclass(frozen=True)
class ExistencePrediction:
    """The answer to whether an image shows what a text describes.

    Attributes:
        odds: Natural logarithm of yes to no; see `label_scoring.log_odds`.
        is_shown: Whether the image shows it.
    """

    odds: float
    is_shown: bool

    def probability(self, scaling: Scaling = UNCHANGED) -> float:
        """Return the probability of a yes."""
        return sigmoid(self.odds / scaling.temperature + scaling.bias)

    def outcome(self, scaling: Scaling = UNCHANGED) -> Outcome:
        """Return the probability of the likelier answer, and whether it is right."""
        probability = self.probability(scaling)
        return Outcome(max(probability, 1 - probability), (probability >= 0.5) is self.is_shown)


@dataclass(frozen=True)
class Outcome:
    """How sure an answer was, 0 to 1, and whether it was right."""

    confidence: float
    is_right: bool


def fit_choice(predictions: Sequence[Prediction]) -> Scaling:
    """Fit the temperature under which right labels are likeliest; without any, return `UNCHANGED`.

    One more answer counts as wrong (as in Platt's method), so that a model that makes no error
    among few answers is not made certain.
    """
    if not predictions:
        return UNCHANGED
    share_wrong = 1 / (len(predictions) + 2)

    def slope(temperature: float) -> float:
        """Return the derivative of the loss by the inverse temperature; it grows with that."""
        total = 0.0
        for item in predictions:
            highest = max(item.scores)
            weights = [math.exp((score - highest) / temperature) for score in item.scores]
            expected = sum(map(_product, weights, item.scores)) / sum(weights)
            wrong = (sum(item.scores) - item.scores[item.right]) / max(len(item.scores) - 1, 1)
            target = (1 - share_wrong) * item.scores[item.right] + share_wrong * wrong
            total += expected - target
        return total

    return Scaling(_bisect_temperature(slope), 0.0, len(predictions))


def fit_yes_no(predictions: Sequence[ExistencePrediction]) -> Scaling:
    """Fit temperature and bias by likelihood, with Platt's targets; see `fit_choice`.

    With answers of one kind only, there is no bias to fit and nothing is changed.
    """
    shown = sum(item.is_shown for item in predictions)
    absent = len(predictions) - shown
    if not shown or not absent:
        return UNCHANGED
    points = [
        (item.odds, (shown + 1) / (shown + 2) if item.is_shown else 1 / (absent + 2))
        for item in predictions
    ]
    slope, bias = _fit_logistic(points)
    least, most = (1 / temperature for temperature in reversed(_TEMPERATURES))
    if not least <= slope <= most:  # the odds say nothing about the answers, or everything
        slope = min(max(slope, least), most)
        bias = _fit_bias(points, slope)
    return Scaling(1 / slope, bias, len(predictions))


def expected_calibration_error(outcomes: Sequence[Outcome], bins: int = BINS) -> float:
    """Return the mean distance of confidence and accuracy, 0 to 1 (Guo et al. 2017).

    Outcomes are sorted by confidence into bins of equal width. In each bin, the distance of the
    mean confidence and the share of right answers counts with the bin's share of the outcomes.

    Args:
        outcomes: At least one.
        bins: Number of bins.
    """
    return sum(
        len(items) / len(outcomes) * abs(mean_confidence(items) - accuracy(items))
        for items in bin_outcomes(outcomes, bins)
        if items
    )


def bin_outcomes(outcomes: Sequence[Outcome], bins: int = BINS) -> list[list[Outcome]]:
    """Return the outcomes of each bin: of confidences above its lower edge, up to its upper one."""
    found: list[list[Outcome]] = [[] for _ in range(bins)]
    for item in outcomes:
        found[max(math.ceil(item.confidence * bins) - 1, 0)].append(item)
    return found


def accuracy(outcomes: Sequence[Outcome]) -> float:
    """Return the share of right answers, 0 to 1, of at least one."""
    return sum(item.is_right for item in outcomes) / len(outcomes)


def mean_confidence(outcomes: Sequence[Outcome]) -> float:
    """Return the mean confidence, 0 to 1, of at least one outcome."""
    return sum(item.confidence for item in outcomes) / len(outcomes)


def _fit_logistic(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return slope and bias of the logistic curve through odds and target probabilities.

    Newton's method; a step that does not lower the loss is halved. The loss is convex.
    """
    slope, bias = 1.0, 0.0
    loss = _logistic_loss(points, slope, bias)
    for _ in range(_NEWTON_STEPS):
        gradient = [0.0, 0.0]
        curvature = [1e-12, 0.0, 1e-12]
        for odds, target in points:
            share = sigmoid(slope * odds + bias)
            weight = share * (1 - share)
            gradient[0] += (share - target) * odds
            gradient[1] += share - target
            curvature[0] += weight * odds * odds
            curvature[1] += weight * odds
            curvature[2] += weight
        determinant = curvature[0] * curvature[2] - curvature[1] ** 2 or 1e-12
        step_slope = (curvature[2] * gradient[0] - curvature[1] * gradient[1]) / determinant
        step_bias = (curvature[0] * gradient[1] - curvature[1] * gradient[0]) / determinant
        length = 1.0
        while length > 1e-6:
            new = slope - length * step_slope, bias - length * step_bias
            new_loss = _logistic_loss(points, *new)
            if new_loss < loss:
                break
            length /= 2
        else:
            break  # it is as low as numbers go
        (slope, bias), loss = new, new_loss
    return slope, bias


def _logistic_loss(points: Sequence[tuple[float, float]], slope: float, bias: float) -> float:
    total = 0.0
    for odds, target in points:
        value = slope * odds + bias
        total += max(value, 0.0) - target * value + math.log1p(math.exp(-abs(value)))
    return total


def _fit_bias(points: Sequence[tuple[float, float]], slope: float) -> float:
    def errors(bias: float) -> float:
        return sum(sigmoid(slope * odds + bias) - target for odds, target in points)

    return _bisect(errors, *_BIASES)


def _bisect_temperature(slope: Callable[[float], float]) -> float:
    """Return the temperature at which the loss is least; `slope` falls with the temperature."""
    low, high = (math.log(temperature) for temperature in _TEMPERATURES)
    return math.exp(_bisect(lambda log: -slope(math.exp(log)), low, high))


def _bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a growing function is 0, or the end that is nearest to that."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if function(middle) > 0 else (middle, high)
    return (low + high) / 2


def _product(one: float, other: float) -> float:
    return one * other
