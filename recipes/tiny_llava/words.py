"""Words for shapes, and phrasings that are composed from the templates in `data/`.

In a template, `{a|b|}` chooses one of its parts (groups may nest) and `<name>` is a slot. A data
file has sections: a line `[key]`, then one template a line. Its section `[macros]` has lines
`NAME = text`; `$NAME` in a later line stands for that text. Lines that begin with `#` are comments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from numpy.random import Generator as Rng

T = TypeVar("T")

#: Where phrasings and word lists lie.
DATA = Path(__file__).parent / "data"
#: Numbers in words, from 0 to 6.
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
#: Words for one shape of each kind, the plain word first.
SINGULARS = {
    "circle": ("circle", "disc", "disk"), "square": ("square",), "triangle": ("triangle",),
    "star": ("star",), "cross": ("cross", "plus sign", "plus"), "diamond": ("diamond", "rhombus"),
}  # fmt: skip
#: Words for several shapes of each kind, the plain word first.
PLURALS = {
    "circle": ("circles", "discs", "disks"), "square": ("squares",), "triangle": ("triangles",),
    "star": ("stars",), "cross": ("crosses", "plus signs", "pluses"),
    "diamond": ("diamonds", "rhombuses", "rhombi"),
}  # fmt: skip


def pick(rng: Rng, items: Sequence[T]) -> T:
    """Return one of the items at random."""
    return items[int(rng.integers(len(items)))]


def an(words: str) -> str:
    """Return the words with their indefinite article."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def phrase(rng: Rng, templates: Sequence[str], slots: Mapping[str, str] = {}) -> str:
    """Return one random phrasing of the templates, its slots filled, with single spaces."""
    text = pick(rng, templates)
    while "{" in text:
        text = re.sub(r"\{([^{}]*)\}", lambda group: pick(rng, group[1].split("|")), text)
    for slot, value in slots.items():
        text = text.replace(f"<{slot}>", value)
    return re.sub(r" +([,.:?])", r"\1", re.sub(r" {2,}", " ", text)).strip()


def name(rng: Rng, sort: tuple[str | None, str | None], many: bool = False) -> str:
    """Return words for shapes of this colour and kind, mostly plain ones; None stands for any."""
    colour, kind = sort
    if kind is None:
        noun = say(rng, "objects" if many else "object")
    else:
        nouns = (PLURALS if many else SINGULARS)[kind]
        noun = nouns[0] if rng.random() < 0.9 else pick(rng, nouns)
    return f"{colour} {noun}" if colour else noun


def say(rng: Rng, key: str, without: str = "\n", **slots: str) -> str:
    """Return a phrasing of the section `key` of `data/phrasings.txt` that lacks `without`."""
    return phrase(rng, [text for text in load("phrasings")[key] if without not in text], slots)


@cache
def load(name: str) -> dict[str, tuple[str, ...]]:
    """Return the sections of `data/NAME.txt`: each key with its templates, macros replaced."""
    text = (DATA / f"{name}.txt").read_text(encoding="utf-8")
    for macro, value in reversed(re.findall(r"^([A-Z]+) = (.*)$", text, re.MULTILINE)):
        text = re.sub(rf"\${macro}\b", value, text)
    sections: dict[str, tuple[str, ...]] = {}
    for section in re.split(r"^\[", text, flags=re.MULTILINE)[1:]:
        key, *lines = (line for line in section.splitlines() if line and line[0] != "#")
        sections[key.rstrip("]")] = tuple(lines)
    return {key: lines for key, lines in sections.items() if key != "macros"}


@cache
def lexicon() -> tuple[str, ...]:
    """Return the words of `data/words.txt`: common ones that say nothing about drawn shapes."""
    return tuple((DATA / "words.txt").read_text(encoding="utf-8").split())
