"""Questions about any picture, with their answers, and how people put them.

Answers are short and lower case (a colour, a shape, digits, yes or no, a place); what is written
is answered with its capitals; boxes are written as LLaVA 1.5 writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator as Rng

from .captions import brief
from .shape_questions import ASKERS, PLACES, Said, overlap, read_box, written_box
from .things import Box, Chart, Page, Picture, Scene, Writing
from .words import lexicon, pick, say

__all__ = [
    "KINDS", "PLACES", "TABLES", "Question", "ask", "overlap", "read_box", "spoken", "written_box",
]  # fmt: skip

#: For each type of picture, its kinds of questions with their shares (of any sum).
TABLES: Mapping[type, Mapping[str, float]] = {
    Scene: {
        "colour": 0.13, "shape": 0.12, "count": 0.15, "count colour": 0.12, "count shape": 0.12,
        "count both": 0.06, "exist": 0.19, "background": 0.08, "relation": 0.24, "position": 0.10,
        "box": 0.07, "caption": 0.08,
    },
    Writing: {"number": 0.86, "word": 0.86, "letters": 0.86, "background": 0.07, "caption": 0.07},
    Chart: {
        "tallest": 0.22, "shortest": 0.22, "bar's colour": 0.25, "count bars": 0.18,
        "title": 0.07, "background": 0.04, "caption": 0.06,
    },
    Page: {
        "title": 0.26, "total": 0.26, "count lines": 0.18, "stamp": 0.08, "stamp's word": 0.08,
        "stamp there": 0.06, "caption": 0.08,
    },
}  # fmt: skip
#: All kinds of questions.
KINDS = tuple(dict.fromkeys(kind for table in TABLES.values() for kind in table))


@dataclass(frozen=True, slots=True)
class Question:
    """A question in plain words, without a question mark; `box` is in padded coordinates 0-1."""

    kind: str
    text: str
    answer: str
    box: Box | None = None

    @property
    def plain(self) -> str:
        """The question with a capital and a question mark, and nothing else around it."""
        return f"{self.text[0].upper()}{self.text[1:]}?"


def ask(picture: Picture, rng: Rng, kind: str | None = None) -> Question | None:
    """Return a question of this kind, None if the picture leaves none to ask.

    Without a kind, draw kinds by their shares until one fits; the result is never None then.
    """
    table = TABLES[type(picture)]
    shares = np.array(list(table.values()))
    while True:
        drawn = kind or str(rng.choice(list(table), p=shares / shares.sum()))
        said = _ask(picture, drawn, rng) if drawn in table else None
        if said or kind:
            return Question(drawn, *said) if said else None


def _ask(picture: Picture, kind: str, rng: Rng) -> Said | None:
    """Ask for a fact about the picture, or for what takes more than one fact to ask for."""
    facts: dict[str, str | None] = {"caption": brief(picture), "background": picture.background}
    if isinstance(picture, Scene) and kind not in facts:
        return ASKERS[kind](picture, rng)
    if isinstance(picture, Chart) and kind in ("tallest", "shortest", "bar's colour"):
        return _ask_bar(picture, kind, rng)
    if not isinstance(picture, Scene):
        roles = {"title": "title", "total": "total", "stamp": "stamp's word"}
        facts |= {roles[line.role]: line.text for line in picture.lines if line.role in roles}
    if isinstance(picture, Writing):
        facts[picture.lines[0].kind] = picture.lines[0].text
    elif isinstance(picture, Chart):
        facts["count bars"] = str(len(picture.bars))
    elif isinstance(picture, Page):
        facts["count lines"] = str(len(picture.strokes))
        facts["stamp"] = picture.stamp.colour if picture.stamp else None
        # Three in four pages have a stamp; a third of these is as many as have none.
        if kind == "stamp there" and not (picture.stamp and rng.random() < 2 / 3):
            facts[kind] = "yes" if picture.stamp else "no"
    if not (answer := facts.get(kind)):
        return None
    if things := {"count bars": "bars", "count lines": "rows"}.get(kind):
        return say(rng, "count", things=say(rng, things)), answer
    # Words about shapes would be false where there are none.
    without = "\n" if kind != "background" or isinstance(picture, Scene) else "object"
    return say(rng, "word" if kind == "letters" else kind, without), answer


def _ask_bar(chart: Chart, kind: str, rng: Rng) -> Said | None:
    """Ask for the tallest or shortest bar, by label or colour, or for a labelled bar's colour."""
    if kind == "bar's colour":
        bar = pick(rng, chart.bars)
        return (say(rng, kind, label=bar.label.text), bar.colour) if bar.label else None
    bar, style = chart.tallest if kind == "tallest" else chart.shortest, rng.random()
    if style < 0.35 or (bar.label is None and style < 0.6):
        return say(rng, f"{kind} colour"), bar.colour
    if bar.label is None:
        return say(rng, kind), bar.colour
    return say(rng, kind if style < 0.8 else f"{kind} label"), bar.label.text


def spoken(question: Question, rng: Rng) -> str:
    """Return the question as people may type it: with other words around and between its own."""
    text, chance = question.text, rng.random(7)
    if chance[0] < 0.12:
        text = f"{text} {say(rng, 'after')}".replace(" ,", ",")
    if chance[1] < 0.16:
        text = f"{say(rng, 'before')} {text}"
    if chance[2] < 0.08:
        text = f"{say(rng, 'reference')} {_noise(rng, 1, 3)}{pick(rng, (',', ':', ''))} {text}"
    if chance[3] < 0.13:
        words = text.split(" ")
        for _ in range(int(rng.integers(1, 4))):
            style = rng.random()
            small = [i for i, word in enumerate(words) if word in ("the", "is", "are", "do", "of")]
            if style < 0.15 and small:
                del words[pick(rng, small)]
                continue
            more = _noise(rng, 1, 1) if style < 0.85 else pick(rng, ("really", "just", "exactly"))
            words.insert(int(rng.integers(len(words) + 1)), more)
        text = " ".join(words)
    if not text.endswith((".", "?")):
        text += str(rng.choice(["?", "", ".", " ?"], p=[0.76, 0.15, 0.07, 0.02]))
    if chance[4] < 0.06:
        text = f"{_noise(rng, 2, 7)}{pick(rng, '.!,:')} {text}"
    if chance[5] < 0.76:
        text = text[0].upper() + text[1:]
    elif chance[5] > 0.97:
        text = text.upper() if chance[5] > 0.985 else text.title()
    return text + _format(question, rng) if chance[6] < 0.34 else text


def _format(question: Question, rng: Rng) -> str:
    """Return the wished form of the answer, on a line of its own as benchmarks write it, or not."""
    key = {"box": "coordinates", "caption": "sentence"}.get(question.kind, "one word")
    if key == "one word" and rng.random() < 0.55:
        if question.answer in ("yes", "no"):
            key = "yes or no"
        elif question.kind.startswith("count"):
            key = "digits"
        elif question.kind in ("number", "word", "letters", "title"):
            key = "as written"
    words = say(rng, key)
    words = words[0].upper() + words[1:] if rng.random() < 0.85 else words
    return ("\n" if rng.random() < 0.6 else " ") + words


def _noise(rng: Rng, least: int, most: int) -> str:
    """Return `least` to `most` words of the lexicon, or at times random letters for words."""
    words = []
    for _ in range(int(rng.integers(least, most + 1))):
        letters = "".join(map(chr, rng.integers(97, 123, size=int(rng.integers(2, 9)))))
        words.append(pick(rng, lexicon()) if rng.random() < 0.8 else letters)
    return " ".join(words)
