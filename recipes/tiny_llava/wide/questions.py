"""Questions about writing, charts and pages, and about where shapes' edges are.

What there is to see and a seeded generator go in; a question comes out, or ``None`` where nothing
of its kind can be asked. Words and numbers are answered as they are written, with their capitals;
boxes as LLaVA 1.5 says them: ``[x1, y1, x2, y2]``, fractions of the padded square.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from recipes.tiny_llava.phrasings import BACKGROUND, COUNT, phrase
from recipes.tiny_llava.words import Question, an, pick, singular
from recipes.tiny_llava.world import COLOURS, SHAPES, Scene

from . import phrasings
from .codes import Box, boxes_of
from .things import Bar, Chart, Page, Writing

SPELLED = frozenset({"word", "letters", "title", "stamp's word"})
"""Kinds whose answers are learned letter by letter, one token each."""

KINDS = (
    "number", "word", "letters", "tallest", "shortest", "bar's colour", "count bars", "title",
    "total", "count lines", "stamp", "stamp's word", "stamp there", "box", "caption",
)  # fmt: skip
"""What this module asks beside backgrounds."""

T = TypeVar("T")
Asker = Callable[[T, np.random.Generator], Question | None]


def ask_writing(writing: Writing, rng: np.random.Generator) -> Question:
    """Which number or word is written; its kind is the line's."""
    line = writing.line
    templates = phrasings.NUMBER if line.kind == "number" else phrasings.WORD
    return Question(line.kind, phrase(rng, templates), line.text, line)


def ask_background(sight: Writing | Chart, rng: np.random.Generator) -> Question | None:
    """The background's colour, where a name fits it."""
    if sight.background is None:
        return None
    return Question("background", phrase(rng, _GROUND), sight.background)


def ask_tallest(chart: Chart, rng: np.random.Generator) -> Question | None:
    """The tallest bar: its label where there are labels, else its colour."""
    texts = phrasings.TALLEST_HUE, phrasings.TALLEST_WHICH, phrasings.TALLEST_NAME
    return _outstanding(chart, chart.tallest, "tallest", texts, rng)


def ask_shortest(chart: Chart, rng: np.random.Generator) -> Question | None:
    """The shortest bar."""
    texts = phrasings.SHORTEST_HUE, phrasings.SHORTEST_WHICH, phrasings.SHORTEST_NAME
    return _outstanding(chart, chart.shortest, "shortest", texts, rng)


def _outstanding(
    chart: Chart,
    bar: Bar,
    kind: str,
    texts: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]],
    rng: np.random.Generator,
) -> Question:
    hue, which, name = texts
    if bar.label is None:
        return Question(kind, phrase(rng, hue if rng.random() < 0.6 else which), bar.colour)
    if rng.random() < 0.35:
        return Question(kind, phrase(rng, hue), bar.colour)
    text = phrase(rng, which if rng.random() < 0.7 else name)
    return Question(kind, text, bar.label.text, bar.label)


def ask_bar_colour(chart: Chart, rng: np.random.Generator) -> Question | None:
    """The colour of a bar named by its label."""
    bar = pick(rng, chart.bars)
    if bar.label is None:
        return None
    text = phrase(rng, phrasings.BAR_HUE, {"label": bar.label.text})
    return Question("bar's colour", text, bar.colour, bar=bar)


def ask_bars(chart: Chart, rng: np.random.Generator) -> Question:
    """How many bars there are."""
    things = {"things": phrase(rng, ("{bars|bars|columns}",))}
    return Question("count bars", phrase(rng, COUNT, things), str(len(chart.bars)))


def ask_title(sight: Page | Chart, rng: np.random.Generator) -> Question | None:
    """What the title says."""
    if sight.title is None:
        return None
    return Question("title", phrase(rng, phrasings.TITLE), sight.title.text, sight.title)


def ask_total(page: Page, rng: np.random.Generator) -> Question:
    """How much the total is, as written."""
    return Question("total", phrase(rng, phrasings.TOTAL), page.total.text, page.total)


def ask_rows(page: Page, rng: np.random.Generator) -> Question:
    """How many lines too small to read there are."""
    things = {"things": phrase(rng, (phrasings.ROWS,))}
    return Question("count lines", phrase(rng, COUNT, things), str(len(page.strokes)))


def ask_stamp(page: Page, rng: np.random.Generator) -> Question | None:
    """The stamp's colour."""
    if page.stamp is None:
        return None
    return Question("stamp", phrase(rng, phrasings.STAMP), page.stamp.colour)


def ask_stamped(page: Page, rng: np.random.Generator) -> Question | None:
    """The word in the stamp."""
    if page.stamp is None or page.stamp.line is None:
        return None
    line = page.stamp.line
    return Question("stamp's word", phrase(rng, phrasings.STAMPED), line.text, line)


def ask_stamp_there(page: Page, rng: np.random.Generator) -> Question | None:
    """Whether there is a stamp; as often answered with yes as with no, from what pages have."""
    if page.stamp is not None and rng.random() < 2 / 3:
        return None
    answer = "no" if page.stamp is None else "yes"
    return Question("stamp there", phrase(rng, phrasings.STAMP_THERE), answer)


def ask_box(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The box of the only circle, of the only red shape or of the only red circle."""
    options = [
        (index, words)
        for index, shape in enumerate(scene.shapes)
        for words, alike in (
            (singular(rng, shape.kind), scene.count(kind=shape.kind)),
            (f"{shape.colour} shape", scene.count(colour=shape.colour)),
            (f"{shape.colour} {singular(rng, shape.kind)}", scene.count(shape.colour, shape.kind)),
        )
        if alike == 1
    ]
    if not options:
        return None
    index, words = pick(rng, options)
    text = phrase(rng, phrasings.BOX, {"the": f"the {words}"})
    box = boxes_of(scene)[index]
    return Question("box", text, written_box(box), box=box)


def written_box(box: Box) -> str:
    """A box as LLaVA 1.5 writes it, two places a number."""
    return "[" + ", ".join(f"{min(max(edge, 0.0), 1.0):.2f}" for edge in box) + "]"


def read_box(text: str) -> Box | None:
    """The box that an answer says, or ``None`` if it says none."""
    numbers = re.findall(r"\d*\.?\d+", text)
    if len(numbers) != 4:
        return None
    x1, y1, x2, y2 = (float(number) for number in numbers)
    return x1, y1, x2, y2


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, 0–1."""
    wide = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    tall = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [max(0.0, b[2] - b[0]) * max(0.0, b[3] - b[1]) for b in (first, second)]
    union = sum(areas) - wide * tall
    return wide * tall / union if union else 0.0


def caption_shapes(scene: Scene, rng: np.random.Generator) -> Question | None:
    """All shapes, grouped by colour and kind in a fixed order, and the background if named."""
    if not 0 < len(scene.shapes) <= 6:
        return None
    counted = Counter((shape.colour, shape.kind) for shape in scene.shapes)
    named = [
        an(f"{colour} {kind}") if number == 1 else f"{_NUMBERS[number]} {colour} {_PLURALS[kind]}"
        for colour in COLOURS
        for kind in SHAPES
        if (number := counted[colour, kind])
    ]
    listed = ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1]
    return _caption(listed, scene.background, rng)


def caption_writing(writing: Writing, rng: np.random.Generator) -> Question:
    """The number or word, and the background if named."""
    line = writing.line
    thing = "number" if line.kind == "number" else "word"
    return _caption(f"the {thing} {line.text}", writing.background, rng)


def caption_chart(chart: Chart, rng: np.random.Generator) -> Question:
    """How many bars, and the tallest one."""
    top = chart.tallest
    name = f"the {top.colour} bar" if top.label is None else f"bar {top.label.text}"
    listed = f"a bar chart with {_NUMBERS[len(chart.bars)]} bars, {name} is the tallest"
    return Question("caption", phrase(rng, phrasings.CAPTION), listed)


def caption_page(page: Page, rng: np.random.Generator) -> Question:
    """Title, total and the stamp's colour."""
    stamp = "no stamp" if page.stamp is None else an(f"{page.stamp.colour} stamp")
    listed = f"a page with the title {page.title.text}, the total {page.total.text} and {stamp}"
    return Question("caption", phrase(rng, phrasings.CAPTION), listed)


def _caption(listed: str, background: str | None, rng: np.random.Generator) -> Question:
    ground = "" if background is None else f" on {an(background)} background"
    return Question("caption", phrase(rng, phrasings.CAPTION), listed + ground)


# Words that would be false where there are no shapes.
_GROUND = tuple(text for text in BACKGROUND if "object" not in text)
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
_PLURALS = {kind: f"{kind}es" if kind == "cross" else f"{kind}s" for kind in SHAPES}

WRITING_ASKERS: tuple[tuple[float, Asker[Writing]], ...] = (
    (0.86, ask_writing),
    (0.07, ask_background),
    (0.07, caption_writing),
)
CHART_ASKERS: tuple[tuple[float, Asker[Chart]], ...] = (
    (0.22, ask_tallest),
    (0.22, ask_shortest),
    (0.25, ask_bar_colour),
    (0.18, ask_bars),
    (0.07, ask_title),
    (0.04, ask_background),
    (0.06, caption_chart),
)
PAGE_ASKERS: tuple[tuple[float, Asker[Page]], ...] = (
    (0.26, ask_title),
    (0.26, ask_total),
    (0.18, ask_rows),
    (0.08, ask_stamp),
    (0.08, ask_stamped),
    (0.06, ask_stamp_there),
    (0.08, caption_page),
)


def ask_wide(sight: Writing | Chart | Page, rng: np.random.Generator) -> Question:
    """A random question about writing, a chart or a page."""
    if isinstance(sight, Writing):
        return _any(sight, WRITING_ASKERS, rng)
    if isinstance(sight, Chart):
        return _any(sight, CHART_ASKERS, rng)
    return _any(sight, PAGE_ASKERS, rng)


def ask_box_or_caption(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The further kinds of questions about shapes."""
    return ask_box(scene, rng) if rng.random() < 0.5 else caption_shapes(scene, rng)


def _any(
    sight: T, askers: tuple[tuple[float, Asker[T]], ...], rng: np.random.Generator
) -> Question:
    shares = np.array([share for share, _ in askers])
    while True:
        at = int(rng.choice(len(askers), p=shares / shares.sum()))
        if (question := askers[at][1](sight, rng)) is not None:
            return question
