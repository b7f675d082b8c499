"""What is written in pictures: words of a list, numbers, and letters at random.

Random strings keep a model from reading by heart. A fifth of them, chosen by a checksum that
ignores case, is never trained on.
"""

from __future__ import annotations

import zlib

import numpy as np

from recipes.tiny_llava.lexicon import WORDS
from recipes.tiny_llava.words import pick

LISTED = tuple(word for word in WORDS if 3 <= len(word) <= 8)
"""Words that a picture may show."""

STAMPED = ("paid", "void", "copy", "draft", "final", "sent", "done", "new", "urgent", "sample")
TITLES = (
    "invoice", "receipt", "bill", "order", "report", "quote", "letter", "notice", "memo", "menu",
    "summary", "contract", "budget", "notes", "account", "form", "ticket", "offer",
)  # fmt: skip
TOTALS = ("total", "total", "sum", "amount", "due")


def held_back(text: str) -> bool:
    """Whether a random string is kept for evaluation."""
    return zlib.crc32(text.lower().encode()) % 5 == 0


def letters(rng: np.random.Generator, fresh: bool = False) -> str:
    """Three to six lower-case letters at random, trained on or (``fresh``) held back."""
    while True:
        codes = rng.integers(97, 123, size=int(rng.integers(3, 7)))
        text = "".join(chr(int(code)) for code in codes)
        if held_back(text) == fresh:
            return text


def number(rng: np.random.Generator) -> str:
    """A whole number of one to four digits, without zeros in front."""
    digits = int(rng.integers(1, 5))
    return str(int(rng.integers(0 if digits == 1 else 10 ** (digits - 1), 10**digits)))


def amount(rng: np.random.Generator) -> str:
    """A sum of money in one of several manners, seven characters at most."""
    whole = number(rng)
    manner = rng.random()
    if manner < 0.4:
        return whole
    cents = f"{whole[:3]}.{int(rng.integers(100)):02}"
    return cents if manner < 0.75 else f"${whole if manner < 0.88 else cents}"


def cased(rng: np.random.Generator, text: str) -> str:
    """The text in capitals, in small letters or with a capital in front."""
    return pick(rng, (text.upper(), text, text.capitalize()))
