"""Questions about any picture, with their answers.

Each type of picture has a table from kinds of questions to their shares and the functions that
ask. Answers are short and lower case (a colour, a shape, digits, yes or no, a place); what is
written is answered with its capitals; boxes are written as LLaVA 1.5 writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import shape_questions as shapes
from .descriptions import brief
from .shape_questions import PLACES, Asker, Said, overlap, read_box, say, written_box
from .things import Bar, Box, Chart, Page, Picture, Scene, Writing
from .words import lexicon, pick

__all__ = [
    "KINDS", "PLACES", "TABLES", "Question", "ask", "overlap", "read_box", "spoken", "written_box",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a picture, as asked plainly: no capital and no question mark.

    Attributes:
        kind: One of `KINDS`.
        text: Its words.
        answer: The right answer.
        box: The box that the answer gives, in padded coordinates 0-1.
    """

    kind: str
    text: str
    answer: str
    box: Box | None = None


def ask(picture: Picture, rng: np.random.Generator, kind: str | None = None) -> Question | None:
    """Return a question of this kind, None if the picture leaves none to ask.

    Without a kind, draw kinds by their shares until one fits; the result is never None then.
    """
    table = TABLES[type(picture)]
    if kind is not None:
        said = table[kind][1](picture, rng) if kind in table else None
        return None if said is None else Question(kind, *said)
    kinds, ends = list(table), np.cumsum([share for share, _ in table.values()])
    while True:
        drawn = kinds[int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))]
        if (said := table[drawn][1](picture, rng)) is not None:
            return Question(drawn, *said)


def _fact(key: str, answer: Callable[[Any], str | None], things: str = "") -> Asker:
    """Return what asks in words of the section `key`, with one of the section `things` for a slot.

    `answer` takes the picture and returns None where there is nothing to ask.
    """

    def fact(picture: Picture, rng: np.random.Generator) -> Said | None:
        if (said := answer(picture)) is None:
            return None
        return say(rng, key, things=say(rng, things) if things else ""), said

    return fact


def _written(kind: str) -> Asker:
    """Return what asks for a single line of writing if it is of that kind."""

    def answer(writing: Writing) -> str | None:
        return writing.lines[0].text if writing.lines[0].kind == kind else None

    return _fact("number" if kind == "number" else "word", answer)


def _outstanding(kind: str) -> Asker:
    """Return what asks for the `tallest` or `shortest` bar: its label, or else its colour."""

    def outstanding(chart: Chart, rng: np.random.Generator) -> Said:
        bar: Bar = getattr(chart, kind)
        style = rng.random()
        if bar.label is None:
            return say(rng, f"{kind} colour" if style < 0.6 else kind), bar.colour
        if style < 0.35:
            return say(rng, f"{kind} colour"), bar.colour
        return say(rng, kind if style < 0.8 else f"{kind} label"), bar.label.text

    return outstanding


def _bar_colour(chart: Chart, rng: np.random.Generator) -> Said | None:
    bar = pick(rng, chart.bars)
    if bar.label is None:
        return None
    return say(rng, "bar's colour", label=bar.label.text), bar.colour


def _stamp_word(page: Page) -> str | None:
    return page.stamp.line.text if page.stamp and page.stamp.line else None


def _stamp_there(page: Page, rng: np.random.Generator) -> Said | None:
    # Three in four pages have a stamp; a third of these is as many as have none.
    if page.stamp and rng.random() < 2 / 3:
        return None
    return say(rng, "stamp there"), "yes" if page.stamp else "no"


_TITLE = _fact("title", lambda picture: picture.title and picture.title.text)
_CAPTION = _fact("caption", brief)

#: For each type of picture, its kinds of questions with their shares (of any sum) and functions.
TABLES: Mapping[type, Mapping[str, tuple[float, Asker]]] = {
    Scene: {
        "colour": (0.13, shapes.ask_colour),
        "shape": (0.12, shapes.ask_shape),
        "count": (0.15, shapes.ask_count(False, False)),
        "count colour": (0.12, shapes.ask_count(True, False)),
        "count shape": (0.12, shapes.ask_count(False, True)),
        "count both": (0.06, shapes.ask_count(True, True)),
        "exist": (0.19, shapes.ask_exist),
        "background": (0.08, shapes.ask_background),
        "relation": (0.24, shapes.ask_relation),
        "position": (0.10, shapes.ask_position),
        "box": (0.07, shapes.ask_box),
        "caption": (0.08, _CAPTION),
    },
    Writing: {
        "number": (0.86, _written("number")),
        "word": (0.86, _written("word")),
        "letters": (0.86, _written("letters")),
        "background": (0.07, shapes.ask_background),
        "caption": (0.07, _CAPTION),
    },
    Chart: {
        "tallest": (0.22, _outstanding("tallest")),
        "shortest": (0.22, _outstanding("shortest")),
        "bar's colour": (0.25, _bar_colour),
        "count bars": (0.18, _fact("count", lambda chart: str(len(chart.bars)), "bars")),
        "title": (0.07, _TITLE),
        "background": (0.04, shapes.ask_background),
        "caption": (0.06, _CAPTION),
    },
    Page: {
        "title": (0.26, _TITLE),
        "total": (0.26, _fact("total", lambda page: page.total.text)),
        "count lines": (0.18, _fact("count", lambda page: str(len(page.strokes)), "rows")),
        "stamp": (0.08, _fact("stamp", lambda page: page.stamp and page.stamp.colour)),
        "stamp's word": (0.08, _fact("stamp's word", _stamp_word)),
        "stamp there": (0.06, _stamp_there),
        "caption": (0.08, _CAPTION),
    },
}
#: All kinds of questions.
KINDS = tuple(dict.fromkeys(kind for table in TABLES.values() for kind in table))


def spoken(question: Question, rng: np.random.Generator) -> str:
    """Return the question as people may type it: one user's turn.

    The words keep their order; others come before, between and after them, and small words such
    as "the" may be missing, so that a model learns to hear a question through noise.
    """
    text, chance = question.text, rng.random(7)
    if chance[0] < 0.12:
        text = f"{text} {say(rng, 'after')}".replace(" ,", ",")
    if chance[1] < 0.16:
        text = f"{say(rng, 'before')} {text}"
    if chance[2] < 0.08:
        text = f"{say(rng, 'reference')} {_noise(rng, 1, 3)}{pick(rng, (',', ':', ''))} {text}"
    if chance[3] < 0.13:
        text = _strewn(text, rng)
    if not text.endswith((".", "?")):
        text += str(rng.choice(["?", "", ".", " ?"], p=[0.76, 0.15, 0.07, 0.02]))
    if chance[4] < 0.06:
        text = f"{_noise(rng, 2, 7)}{pick(rng, '.!,:')} {text}"
    if chance[5] < 0.76:
        text = text[0].upper() + text[1:]
    elif chance[5] > 0.97:
        text = text.upper() if chance[5] > 0.985 else text.title()
    return text + _format(question, rng) if chance[6] < 0.34 else text


def _format(question: Question, rng: np.random.Generator) -> str:
    """Return the wished form of the answer, on a line of its own as benchmarks write it, or not."""
    key = "one word"
    if question.kind in ("box", "caption"):  # no single word answers these
        key = "coordinates" if question.kind == "box" else "sentence"
    elif rng.random() < 0.55:
        if question.answer in ("yes", "no"):
            key = "yes or no"
        elif question.kind.startswith("count"):
            key = "digits"
        elif question.kind in ("number", "word", "letters", "title"):
            key = "as written"
    words = say(rng, key)
    words = words[0].upper() + words[1:] if rng.random() < 0.85 else words
    return ("\n" if rng.random() < 0.6 else " ") + words


def _strewn(text: str, rng: np.random.Generator) -> str:
    """Insert one to three words that mean nothing here, or leave out small words."""
    words = text.split(" ")
    for _ in range(int(rng.integers(1, 4))):
        style = rng.random()
        light = [i for i, word in enumerate(words) if word in ("the", "is", "are", "do", "of")]
        if style < 0.15 and light:
            del words[pick(rng, light)]
        else:
            noise = _noise(rng, 1, 1) if style < 0.85 else pick(rng, ("really", "just", "exactly"))
            words.insert(int(rng.integers(len(words) + 1)), noise)
    return " ".join(words)


def _noise(rng: np.random.Generator, least: int, most: int) -> str:
    """Return `least` to `most` words of the lexicon, or at times random letters for words."""
    words = []
    for _ in range(int(rng.integers(least, most + 1))):
        codes = rng.integers(97, 123, size=int(rng.integers(2, 9)))
        random = "".join(map(chr, codes))
        words.append(pick(rng, lexicon()) if rng.random() < 0.8 else random)
    return " ".join(words)
