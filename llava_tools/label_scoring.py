"""Choosing among labels, and scoring a text against an image, from log-probabilities.

Pure: questions out, log-probabilities in. Who asks is `Llava.choose`, `Llava.score` and the tools.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llava_tools.errors import RequestError

#: How LLaVA 1.5 was trained to be asked for short answers (llava/eval, docs/Evaluation.md).
SHORT = "Answer the question using a single word or phrase."

#: The question of VQAScore (Lin et al., "Evaluating Text-to-Visual Generation with Image-to-Text
#: Generation", ECCV 2024).
SHOWS = 'Does this figure show "{text}"? Please answer yes or no.'

#: Both spellings, since models differ in which one they learned.
YES_OR_NO = ("Yes", "yes", "No", "no")


@dataclass(frozen=True)
class Classification:
    """A choice among labels.

    Attributes:
        label: The likeliest label, or None where it is less probable than `abstain`.
        probabilities: Of every label in the order given; they sum to 1.
    """

    label: str | None
    probabilities: Mapping[str, float]

    def __str__(self) -> str:
        return self.label or ""


def check_abstain(abstain: float | None) -> None:
    """Refuse a threshold that is no probability.

    Raises:
        RequestError: Neither None nor from 0 to 1.
    """
    if abstain is not None and not (
        isinstance(abstain, int | float) and not isinstance(abstain, bool) and 0 <= abstain <= 1
    ):
        raise RequestError(
            f"abstain={abstain!r} is not possible.", "Use a probability from 0 to 1, or None."
        )


def short(question: str) -> str:
    """Return a question that asks for a short answer.

    Raises:
        RequestError: It is no string.
    """
    return f"{_words(question, 'The question')}\n{SHORT}"


def shows(text: str) -> str:
    """Return the question whether an image shows what a text says.

    Raises:
        RequestError: It is no string.
    """
    return SHOWS.format(text=_words(text, "The text"))


def _words(text: str, what: str) -> str:
    if not isinstance(text, str):
        raise RequestError(f"{what} is a {type(text).__name__}.", "Pass a string.")
    return text


def choose(labels: Sequence[str], scores: Sequence[float], abstain: float | None) -> Classification:
    """Return the choice that log-probabilities make.

    Args:
        labels: Different from each other.
        scores: Natural log-probabilities of the labels.
        abstain: The probability that the likeliest label must have to be chosen; None for any.
    """
    highest = max(scores)
    odds = [math.exp(score - highest) for score in scores]
    probabilities = {label: one / sum(odds) for label, one in zip(labels, odds, strict=True)}
    best = max(labels, key=probabilities.__getitem__)
    sure = abstain is None or probabilities[best] >= abstain
    return Classification(best if sure else None, probabilities)


def certainty(logprobs: Sequence[float]) -> float:
    """Return the geometric mean of an answer's tokens' probabilities; 1 where none are known.

    Args:
        logprobs: Natural logarithms of the tokens' probabilities.
    """
    return math.exp(sum(logprobs) / len(logprobs)) if logprobs else 1.0


def yes(scores: Sequence[float]) -> float:
    """Return the probability of a yes from the log-probabilities of `YES_OR_NO`."""
    chances = choose(YES_OR_NO, scores, None).probabilities
    return chances["Yes"] + chances["yes"]
