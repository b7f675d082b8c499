"""Text that images show: listed words, numbers, and letters against learning all text by heart."""

import zlib
from functools import cache

from numpy.random import Generator

from .words import lexicon, pick


@cache
def listed() -> tuple[str, ...]:
    """Return the words that an image may show: those of 3 to 8 letters."""
    return tuple(word for word in lexicon() if 3 <= len(word) <= 8)


def held_back(text: str) -> bool:
    """Return whether random letters are kept for evaluation: a fifth, whatever their case."""
    return zlib.crc32(text.lower().encode()) % 5 == 0


def letters(rng: Generator, fresh: bool = False) -> str:
    """Return 3 to 6 random lower-case letters, for training or (`fresh`) held back."""
    while True:
        text = "".join(map(chr, rng.integers(97, 123, size=int(rng.integers(3, 7)))))
        if held_back(text) == fresh:
            return text


def number(rng: Generator) -> str:
    """Return a whole number of 1 to 4 digits without leading zeros."""
    digits = int(rng.integers(1, 5))
    return str(rng.integers(0 if digits == 1 else 10 ** (digits - 1), 10**digits))


def amount(rng: Generator) -> str:
    """Return a sum of money, such as `12`, `12.50`, `$12` or `$12.50`; at most 7 characters."""
    whole, style = number(rng), rng.random()
    if style < 0.4:
        return whole
    cents = f"{whole[:3]}.{rng.integers(100):02}"
    return cents if style < 0.75 else f"${whole if style < 0.88 else cents}"


def cased(rng: Generator, text: str) -> str:
    """Return the text in upper case, as it is, or capitalized."""
    return pick(rng, (text.upper(), text, text.capitalize()))
