"""How LLaVA 1.5 is asked to choose one of several options."""

from __future__ import annotations

from collections.abc import Sequence

#: LLaVA 1.5's prompt for a letter (docs/Evaluation.md).
LETTER_ANSWER = "Answer with the option's letter from the given choices directly."

LETTERS = "ABCDE"


def list_options(options: Sequence[str]) -> str:
    """Return the options as lines: `A. red`, `B. blue`.

    Args:
        options: 1 to 5.
    """
    return "\n".join(
        f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)
    )
