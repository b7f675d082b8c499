"""Which choice an answer to a question of MMBench means, by VLMEvalKit's rules without a judge."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: An answer with this chooses nothing by its letters: the remark of a server that failed.
_FAILED = "Failed to obtain answer via API"
#: An answer with one of these refuses, which is wrong.
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_SEPARATORS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_SENTENCE = re.compile(r"answer\s+is\s+\**([ABCD])", re.IGNORECASE)
#: A letter counts if it is among that many words at the end.
_LAST_WORDS = 4


def infer_choice(answer: str, choices: Mapping[str, str]) -> str | None:
    """Return the letter of the choice that an answer means; None if no rule finds one.

    Args:
        answer: The model's text.
        choices: The texts of the choices by letter.
    """
    if any(refusal in answer for refusal in _REFUSALS) and _FAILED not in answer:
        return None
    return _by_letter(answer, choices) or _by_text(answer, choices)


def _by_letter(answer: str, choices: Mapping[str, str]) -> str | None:
    """Return the only letter among the words if it is near the end, or that of "answer is B"."""
    if _FAILED in answer:
        return None
    words = answer.translate(_SEPARATORS).split()
    letters = [letter for letter in choices if letter in words]
    if len(letters) == 1 and words.index(letters[0]) >= len(words) - _LAST_WORDS:
        return letters[0]
    if not letters and "Z" in words:
        return "Z"
    found = _SENTENCE.search(answer)
    letter = found[1].upper() if found else None
    return letter if letter in choices else None


def _by_text(answer: str, choices: Mapping[str, str]) -> str | None:
    """Return the only choice whose text is in an answer that is not much longer than all texts."""
    if len(answer.lower()) > 2 * sum(map(len, choices.values())):
        return None
    found = [letter for letter, text in choices.items() if text.lower() in answer.lower()]
    return found[0] if len(found) == 1 else None
