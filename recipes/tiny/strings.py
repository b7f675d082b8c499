"""Text that images show: listed words, numbers and random letters.

Random letters keep a model from learning all text by heart. A fifth of them, selected by a
checksum that ignores case, is kept out of training for evaluation.
"""

from __future__ import annotations

import zlib
from functools import cache

import numpy as np

from .words import lexicon, pick

#: Words on stamps.
STAMPED = ("paid", "void", "copy", "draft", "final", "sent", "done", "new", "urgent", "sample")
#: Titles of pages.
TITLES = (
    "invoice", "receipt", "bill", "order", "report", "quote", "letter", "notice", "memo", "menu",
    "summary", "contract", "budget", "notes", "account", "form", "ticket", "offer",
)  # fmt: skip
#: Labels of a page's total.
TOTALS = ("total", "total", "sum", "amount", "due")


@cache
def listed() -> tuple[str, ...]:
    """Return the words that an image may show: those of 3 to 8 letters."""
    return tuple(word for word in lexicon() if 3 <= len(word) <= 8)


def held_back(text: str) -> bool:
    """Return whether random letters are kept for evaluation."""
    return zlib.crc32(text.lower().encode()) % 5 == 0


def letters(rng: np.random.Generator, fresh: bool = False) -> str:
    """Return 3 to 6 random lower-case letters, for training or (`fresh`) held back."""
    while True:
        codes = rng.integers(97, 123, size=int(rng.integers(3, 7)))
        text = "".join(chr(code) for code in codes)
        if held_back(text) == fresh:
            return text


def number(rng: np.random.Generator) -> str:
    """Return a whole number of 1 to 4 digits without leading zeros."""
    digits = int(rng.integers(1, 5))
    return str(rng.integers(0 if digits == 1 else 10 ** (digits - 1), 10**digits))


def amount(rng: np.random.Generator) -> str:
    """Return a sum of money, such as `12`, `12.50`, `$12` or `$12.50`; at most 7 characters."""
    whole = number(rng)
    style = rng.random()
    if style < 0.4:
        return whole
    cents = f"{whole[:3]}.{rng.integers(100):02}"
    return cents if style < 0.75 else f"${whole if style < 0.88 else cents}"


def cased(rng: np.random.Generator, text: str) -> str:
    """Return the text in upper case, as it is, or capitalized."""
    return pick(rng, (text.upper(), text, text.capitalize()))
