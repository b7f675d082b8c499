"""Fits the calibration of a model on labelled questions, and measures what it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from llava_tools.core.backend import Backend
from llava_tools.core.calibration import UNCHANGED, Calibration, Scaling
from llava_tools.evaluation.trust.calibration import (
    Outcome,
    accuracy,
    expected_calibration_error,
    fit_choice,
    fit_yes_no,
)
from llava_tools.evaluation.trust.labelled import Predictions, halves
from llava_tools.evaluation.trust.selective import (
    accuracy_at_coverage,
    area_under_risk_coverage,
    threshold_for_coverage,
)


class _Scalable(Protocol):
    def outcome(self, scaling: Scaling = ...) -> Outcome: ...


_Item = TypeVar("_Item", bound=_Scalable)


@dataclass(frozen=True)
class CalibrationEffect:
    """How sure and how right a model is, without a calibration and with one.

    Attributes:
        before: Outcomes without it.
        after: Outcomes with one that was fitted on the other half of the records each time.
        final: Outcomes with the one that was fitted on all records, for thresholds.
    """

    before: Sequence[Outcome]
    after: Sequence[Outcome]
    final: Sequence[Outcome]

    def figures(self, coverage: float) -> dict[str, Any]:
        """Return the measures by name; those of a coverage are with the calibration.

        Args:
            coverage: Share of the questions to be answered.
        """
        return {
            "count": len(self.before),
            "accuracy": accuracy(self.after),
            "ece_before": expected_calibration_error(self.before),
            "ece_after": expected_calibration_error(self.after),
            "coverage": coverage,
            "abstain": threshold_for_coverage(self.final, coverage),
            "accuracy_at_coverage": accuracy_at_coverage(self.after, coverage),
            "aurc": area_under_risk_coverage(self.after),
        }


def calibrate(backend: Backend, predictions: Predictions, data: str) -> Calibration:
    """Fit the calibration of a model.

    Args:
        backend: The model that made the predictions.
        predictions: Its scores.
        data: What they are about, in words, for the file.
    """
    return Calibration(
        backend.model_name,
        getattr(backend, "fingerprint", ""),  # a server's weights are not here
        data,
        fit_choice(predictions.choices),
        fit_yes_no(predictions.statements),
    )


def measure_effects(predictions: Predictions) -> dict[str, CalibrationEffect]:
    """Return the effect on choices and on yes or no, of those that there are predictions of."""
    effects = {}
    if predictions.choices:
        effects["choice"] = _effect(predictions.choices, fit_choice)
    if predictions.statements:
        effects["yes_no"] = _effect(predictions.statements, fit_yes_no)
    return effects


def _effect(items: Sequence[_Item], fit: Callable[[Sequence[_Item]], Scaling]) -> CalibrationEffect:
    after: list[Outcome] = []
    for fitted, measured in halves(len(items)):
        scaling = fit([items[place] for place in fitted]) if fitted else UNCHANGED
        after += [items[place].outcome(scaling) for place in measured]
    final = fit(items)
    return CalibrationEffect(
        [item.outcome() for item in items], after, [item.outcome(final) for item in items]
    )
