"""Arguments for tool calls, made up: whole numbers, decimals, names, phrases, many scripts.

What is copied from a question into a call must not be guessable, so half of all words are made of
random syllables, and strings of other scripts are random characters of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recipes.tiny_llava.lexicon import WORDS
from recipes.tiny_llava.words import pick

SCRIPTS: tuple[tuple[int, int], ...] = (
    (0x4E00, 0x9FA5),  # Chinese
    (0x4E00, 0x9FA5),
    (0x3042, 0x3093),  # Hiragana
    (0x30A2, 0x30F3),  # Katakana
    (0xAC00, 0xD7A3),  # Hangul
    (0x0430, 0x044F),  # Cyrillic
    (0x03B1, 0x03C9),  # Greek
    (0x05D0, 0x05EA),  # Hebrew
    (0x0627, 0x064A),  # Arabic
    (0x0915, 0x0939),  # Devanagari
    (0x00E0, 0x00FF),  # accented Latin
    (0x1F600, 0x1F640),  # faces
)
_ONSETS = ("b", "c", "ch", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "st", "t")
_NUCLEI = ("a", "e", "i", "o", "u", "ai", "ea", "ou", "y")
_CODAS = ("", "", "", "n", "r", "l", "s", "m", "x", "nd")


def made_up(rng: np.random.Generator) -> str:
    """A pronounceable word that does not exist, in lower case."""
    syllables = int(rng.choice((1, 2, 2, 3)))
    return "".join(
        pick(rng, _ONSETS) + pick(rng, _NUCLEI) + pick(rng, _CODAS) for _ in range(syllables)
    )


def word(rng: np.random.Generator) -> str:
    """A lower-case word, known or made up."""
    return pick(rng, WORDS) if rng.random() < 0.5 else made_up(rng)


def proper(rng: np.random.Generator) -> str:
    """A name of one to three capitalised words; now and then with what it belongs to."""
    parts = [word(rng).capitalize() for _ in range(int(rng.choice((1, 1, 2, 2, 3))))]
    name = " ".join(parts)
    chance = rng.random()
    if chance < 0.08:
        return f"{name}, {word(rng)[:2].upper()}"
    return f"{name}, {word(rng).capitalize()}" if chance < 0.14 else name


def foreign(rng: np.random.Generator) -> str:
    """Two to eight characters of one script (or two), at times with a space."""
    text = ""
    for _ in range(1 if rng.random() < 0.85 else 2):
        low, high = pick(rng, SCRIPTS)
        count = int(rng.integers(2, 9 if text == "" else 4))
        text += "".join(chr(int(code)) for code in rng.integers(low, high + 1, size=count))
    if rng.random() < 0.1:
        text = f"{text[:2]} {text[2:]}".strip()
    return text


def sentence(rng: np.random.Generator) -> str:
    """Two to eight words, few of them with a capital."""
    words = [word(rng) for _ in range(int(rng.integers(2, 9)))]
    return " ".join(one.capitalize() if rng.random() < 0.15 else one for one in words)


def code(rng: np.random.Generator) -> str:
    """An identifier, a date, a time of day or a file."""
    number = integer(rng, signed=False)
    manner = int(rng.integers(5))
    if manner == 0:
        return f"{made_up(rng)[:2].upper()}-{number}"
    if manner == 1:
        return f"20{rng.integers(10, 40)}-{rng.integers(1, 13):02}-{rng.integers(1, 29):02}"
    if manner == 2:
        return f"{rng.integers(24):02}:{rng.integers(60):02}"
    if manner == 3:
        return f"{word(rng)}.{pick(rng, ('txt', 'png', 'pdf', 'csv'))}"
    return f"{made_up(rng)}{number}"


def text(rng: np.random.Generator) -> str:
    """A string of any of these manners."""
    chance = rng.random()
    if chance < 0.22:
        return word(rng)
    if chance < 0.5:
        return proper(rng)
    if chance < 0.68:
        return sentence(rng)
    return foreign(rng) if chance < 0.88 else code(rng)


def handle(rng: np.random.Generator) -> str:
    """The handle of a picture that never was (see :mod:`llava_tools.chat.image_handles`)."""
    return "img_" + "".join("0123456789abcdef"[digit] for digit in rng.integers(16, size=24))


def integer(rng: np.random.Generator, *, signed: bool = True) -> int:
    """One to five digits; small numbers more often."""
    digits = int(rng.choice((1, 1, 2, 2, 3, 4, 5)))
    number = int(rng.integers(0 if digits == 1 else 10 ** (digits - 1), 10**digits))
    return -number if signed and number and rng.random() < 0.06 else number


def decimal(rng: np.random.Generator) -> float:
    """A number with one or two places."""
    places = int(rng.integers(1, 3))
    return float(f"{int(rng.integers(1, 10 ** int(rng.integers(2, 5)))) / 10**places:.{places}f}")


def value(rng: np.random.Generator, schema: dict[str, Any]) -> Any:
    """A value that satisfies a schema as :mod:`~recipes.tiny_llava.talk.kit` writes them."""
    if "enum" in schema:
        return pick(rng, schema["enum"])
    kind = schema["type"]
    if kind == "integer":
        return integer(rng)
    if kind == "number":
        return integer(rng) if rng.random() < 0.4 else decimal(rng)
    if kind == "boolean":
        return bool(rng.random() < 0.5)
    if kind == "array":
        inner = schema["items"]
        short = inner["type"] == "string"
        count = int(rng.integers(1, 5))
        return [word(rng) if short else value(rng, inner) for _ in range(count)]
    return text(rng)
