"""The figure of benchmarks that compare answers with those of several annotators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llava_tools.evaluation.rules.arithmetic import add_in_order
from llava_tools.evaluation.rules.vqa_answers import normalize_answer
from llava_tools.evaluation.task import Answers, Sample, Score


def vqa_score(
    samples: Sequence[Sample],
    answers: Answers,
    accuracy: Callable[[str, Sequence[str]], float],
    note: str,
) -> Score | None:
    """Return the accuracy in percent, of all answers and by type of answer.

    As LLaVA does, answers are normalized before they go to the rule. None without samples, or if
    one has no `answers` in its truth.

    Args:
        samples: With `answers` of the annotators and an `answer_type`, such as `yes/no`.
        answers: One for each sample.
        accuracy: The rule: from an answer and the annotators' to an accuracy, 0 to 1.
        note: See `Score.notes`.
    """
    if not samples or any("answers" not in sample.truth for sample in samples):
        return None
    accuracies: list[float] = []
    by_type: dict[str, list[float]] = {}
    for sample in samples:
        value = accuracy(normalize_answer(answers[sample.id]), sample.truth["answers"])
        accuracies.append(value)
        by_type.setdefault(str(sample.truth["answer_type"]), []).append(value)
    parts = {f"{kind}, %": _percent(values) for kind, values in sorted(by_type.items())}
    return Score(_percent(accuracies), len(accuracies), parts, (note,))


def _percent(accuracies: Sequence[float]) -> float:
    # Multiplied before it is divided, as in the official code: so even the last digit is the same.
    return 100 * add_in_order(accuracies) / len(accuracies)
