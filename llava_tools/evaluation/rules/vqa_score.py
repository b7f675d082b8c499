"""The figure of benchmarks that compare answers with those of several annotators."""

from __future__ import annotations

from collections.abc import Sequence

from llava_tools.evaluation.task import Score


def vqa_score(
    accuracies: Sequence[float], types: Sequence[str], notes: tuple[str, ...] = ()
) -> Score:
    """Return the accuracy in percent, of all answers and by type of answer.

    Args:
        accuracies: Of each answer, 0 to 1; at least one.
        types: Of each answer, such as `yes/no`.
        notes: As in `Score`.
    """
    by_type: dict[str, list[float]] = {}
    for accuracy, kind in zip(accuracies, types, strict=True):
        by_type.setdefault(kind, []).append(accuracy)
    parts = {f"{kind}, %": _percent(values) for kind, values in sorted(by_type.items())}
    return Score(_percent(accuracies), len(accuracies), parts, notes)


def _percent(accuracies: Sequence[float]) -> float:
    # In the order of the official code, so that even the last digit is the same.
    return 100 * float(sum(accuracies)) / len(accuracies)
