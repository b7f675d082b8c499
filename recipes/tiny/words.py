"""Words for shapes, and phrasings that are composed from the templates in `data/`.

In a template, `{a|b|}` chooses one of its parts (groups may nest) and `<name>` is a slot. A data
file has sections: a line `[key]`, then one template a line. Its section `[macros]` has lines
`NAME = text`; `$NAME` in a template or in a later macro stands for that text. Lines that begin
with `#` are comments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")

#: Where phrasings and word lists lie.
DATA = Path(__file__).parent / "data"
#: Numbers in words, from 0 to 6.
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
#: Words for one shape of each kind, the plain word first.
SINGULARS = {
    "circle": ("circle", "disc", "disk"),
    "square": ("square",),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross", "plus sign", "plus"),
    "diamond": ("diamond", "rhombus"),
}
#: Words for several shapes of each kind, the plain word first.
PLURALS = {
    "circle": ("circles", "discs", "disks"),
    "square": ("squares",),
    "triangle": ("triangles",),
    "star": ("stars",),
    "cross": ("crosses", "plus signs", "pluses"),
    "diamond": ("diamonds", "rhombuses", "rhombi"),
}

_GROUP = re.compile(r"\{([^{}]*)\}")
_MACRO = re.compile(r"\$([A-Z]+)")


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """Return one of the items at random."""
    return items[int(rng.integers(len(items)))]


def an(words: str) -> str:
    """Return the words with their indefinite article."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def singular(rng: np.random.Generator, kind: str) -> str:
    """Return a word for one shape of that kind: mostly the plain one, at times a synonym."""
    return SINGULARS[kind][0] if rng.random() < 0.9 else pick(rng, SINGULARS[kind])


def plural(rng: np.random.Generator, kind: str) -> str:
    """Return a word for several shapes of that kind: mostly the plain one, at times a synonym."""
    return PLURALS[kind][0] if rng.random() < 0.9 else pick(rng, PLURALS[kind])


def phrase(
    rng: np.random.Generator, templates: Sequence[str], slots: Mapping[str, str] | None = None
) -> str:
    """Return one random phrasing of the templates, its slots filled, with single spaces."""
    text = pick(rng, templates)
    while "{" in text:
        text = _GROUP.sub(lambda group: pick(rng, group[1].split("|")), text)
    for name, value in (slots or {}).items():
        text = text.replace(f"<{name}>", value)
    return re.sub(r" +([,.:?])", r"\1", re.sub(r" {2,}", " ", text)).strip()


@cache
def load(name: str) -> dict[str, tuple[str, ...]]:
    """Return the sections of `data/NAME.txt`: each key with its templates, macros replaced.

    Raises:
        KeyError: A macro that is not defined above its use.
    """
    macros: dict[str, str] = {}
    sections: dict[str, list[str]] = {}
    key = ""
    for line in (DATA / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            key = line[1:-1]
        elif key == "macros":
            macro, text = line.split(" = ", 1)
            macros[macro] = _MACRO.sub(lambda found: macros[found[1]], text)
        else:
            sections.setdefault(key, []).append(_MACRO.sub(lambda found: macros[found[1]], line))
    return {key: tuple(lines) for key, lines in sections.items()}


@cache
def lexicon() -> tuple[str, ...]:
    """Return the words of `data/words.txt`: common ones that say nothing about drawn shapes."""
    return tuple((DATA / "words.txt").read_text(encoding="utf-8").split())
