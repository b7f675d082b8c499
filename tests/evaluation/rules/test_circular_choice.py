from __future__ import annotations

import pytest

from llava_tools.evaluation.rules.circular_choice import infer_choice

CHOICES = {"A": "a red ball", "B": "Blue", "C": "the Z axis", "D": "no"}


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("B. Blue", "B"),
        ("Answer: D!", "D"),
        ("**B**", "B"),
        ("A or B", None),
        ("B because it looks so", None),
        ("B since it does", "B"),
        ("A ball that is B", None),
        ("b", None),
        ("Z", "Z"),
        ("The correct answer is **b** since all others are wrong", "B"),
        ("A B: the answer is C", "C"),
        ("It is BLUE", "B"),
        ("blue, a red ball", None),
        ("It is blue. " * 10, None),
        ("", None),
        ("答案是B。", None),
        ("Cannot determine the answer B", None),
        ("Failed to obtain answer via API B", None),
        ("Failed to obtain answer via API blue", "B"),
    ],
)
def test_letter_or_text_of_a_choice_is_found(answer: str, letter: str | None) -> None:
    assert infer_choice(answer, CHOICES) == letter
