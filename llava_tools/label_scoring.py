"""Questions for log-probabilities of labels, and what the log-probabilities mean.

Used by `Llava.choose`, `Llava.score`, the visual tools and retrieval. Runs no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llava_tools.core.calibration import UNCHANGED, Scaling
from llava_tools.errors import RequestError

#: LLaVA 1.5's training prompt for short answers (llava/eval, docs/Evaluation.md).
SHORT_ANSWER = "Answer the question using a single word or phrase."

#: The question of VQAScore (Lin et al., "Evaluating Text-to-Visual Generation with Image-to-Text
#: Generation", ECCV 2024).
SHOWS_QUESTION = 'Does this figure show "{text}"? Please answer yes or no.'

#: Both spellings, since models differ in the one that they learned.
YES_OR_NO = ("Yes", "yes", "No", "no")


@dataclass(frozen=True)
class Classification:
    """A choice among labels.

    Attributes:
        label: The likeliest label, or None if it is less probable than `abstain`.
        probabilities: The probability of each label, in their order; they sum to 1.
    """

    label: str | None
    probabilities: Mapping[str, float]

    def __str__(self) -> str:
        return self.label or ""


def check_abstain(abstain: float | None) -> None:
    """Check the threshold of a choice; see `check_probability`."""
    check_probability("abstain", abstain)


def check_probability(name: str, value: float | None) -> None:
    """Check a threshold; `name` is what its option is called.

    Raises:
        RequestError: It is neither None nor a number from 0 to 1.
    """
    if value is not None and not (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    ):
        raise RequestError(
            f"{name}={value!r} is not possible.", "Use a probability from 0 to 1, or None."
        )


def short_answer_question(question: str) -> str:
    """Return a question with LLaVA 1.5's request for a short answer.

    Raises:
        RequestError: It is not a string.
    """
    return f"{_checked(question, 'The question')}\n{SHORT_ANSWER}"


def shows_question(text: str) -> str:
    """Return the question whether an image shows what a text describes.

    Raises:
        RequestError: It is not a string.
    """
    return SHOWS_QUESTION.format(text=_checked(text, "The text"))


def _checked(text: str, name: str) -> str:
    if not isinstance(text, str):
        raise RequestError(f"{name} is a {type(text).__name__}.", "Pass a string.")
    return text


def classify(
    labels: Sequence[str],
    scores: Sequence[float],
    abstain: float | None,
    scaling: Scaling = UNCHANGED,
) -> Classification:
    """Choose the likeliest label by natural log-probabilities, if it reaches `abstain`.

    The temperature of `scaling` changes the probabilities, but not which label is the likeliest.
    """
    highest = max(scores)
    weights = [math.exp((score - highest) / scaling.temperature) for score in scores]
    total = sum(weights)
    probabilities = {label: weight / total for label, weight in zip(labels, weights, strict=True)}
    best = labels[scores.index(highest)]  # probabilities of nearly equal scores may round to one
    is_certain = abstain is None or probabilities[best] >= abstain
    return Classification(best if is_certain else None, probabilities)


def certainty(logprobs: Sequence[float]) -> float:
    """Return the geometric mean of the tokens' probabilities, from natural log-probabilities."""
    return math.exp(sum(logprobs) / len(logprobs)) if logprobs else 1.0


def yes_probability(scores: Sequence[float], scaling: Scaling = UNCHANGED) -> float:
    """Return the probability of a yes from the log-probabilities of `YES_OR_NO`."""
    if scaling == UNCHANGED:
        probabilities = classify(YES_OR_NO, scores, None).probabilities
        return probabilities["Yes"] + probabilities["yes"]
    return sigmoid(log_odds(scores) / scaling.temperature + scaling.bias)


def log_odds(scores: Sequence[float]) -> float:
    """Return the natural logarithm of yes to no from the log-probabilities of `YES_OR_NO`."""
    return _log_sum(scores[:2]) - _log_sum(scores[2:])


def sigmoid(odds: float) -> float:
    """Return the probability, 0 to 1, of natural log odds."""
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else 1 - sigmoid(-odds)


def _log_sum(scores: Sequence[float]) -> float:
    highest = max(scores)
    return highest + math.log(sum(math.exp(score - highest) for score in scores))
