"""What a picture of any type shows, in short or in full.

Words are lower case, except for what is written in the picture.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from .shape_questions import MOST, place, say
from .things import COLOURS, SHAPES, Chart, Page, Picture, Scene, Writing
from .words import NUMBERS, PLURALS, an, pick

#: A full description names each shape up to this number, and groups of equal shapes beyond it.
_EACH = 8
#: The most groups that it names; beyond it, only how many shapes have each colour and each kind.
_GROUPS = 10
#: The most lines of a writing that it names.
_LINES = 12


def brief(picture: Picture) -> str | None:
    """Return a caption in one fixed form, None for a scene of no or more than `MOST` shapes."""
    ground = f" on {an(picture.background)} background" if picture.background else ""
    if isinstance(picture, Writing):
        line = picture.lines[0]
        return f"the {'number' if line.kind == 'number' else 'word'} {line.text}{ground}"
    if isinstance(picture, Chart):
        top, number = picture.tallest, NUMBERS[len(picture.bars)]
        name = f"bar {top.label.text}" if top.label else f"the {top.colour} bar"
        return f"a bar chart with {number} bars, {name} is the tallest"
    if isinstance(picture, Page):
        stamp = an(f"{picture.stamp.colour} stamp") if picture.stamp else "no stamp"
        title, total = picture.title.text, picture.total.text
        return f"a page with the title {title}, the total {total} and {stamp}"
    if not 0 < len(picture.shapes) <= MOST:
        return None
    named = [
        f"{NUMBERS[number]} {name}" if number > 1 else an(name) for name, number in _groups(picture)
    ]
    return ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1] + ground


def _groups(scene: Scene) -> list[tuple[str, int]]:
    """Return colour with kind and the number of such shapes, in the order of the constants."""
    counts = Counter((COLOURS.index(s.colour), SHAPES.index(s.kind)) for s in scene.shapes)
    return [
        (f"{COLOURS[c]} {SHAPES[k] if n == 1 else PLURALS[SHAPES[k]][0]}", n)
        for (c, k), n in sorted(counts.items())
    ]


def describe(picture: Picture, rng: np.random.Generator) -> str:
    """Return a dense description of any picture: all that it shows, about 60 tokens at most."""
    if isinstance(picture, Writing):
        text = _writing(picture, rng)
    elif isinstance(picture, Chart):
        text = _chart(picture, rng)
    elif isinstance(picture, Page):
        return _page(picture, rng)
    else:
        text = _scene(picture, rng)
    ground = picture.background
    if ground is None or rng.random() < 0.15:
        return text
    return say(rng, "describe ground", what=text, ground=ground, a=an(ground))


def _scene(scene: Scene, rng: np.random.Generator) -> str:
    """Return each shape with its place in reading order, or groups of a crowded scene."""
    number = len(scene.shapes)
    if number == 0:
        return "no shapes"
    if number <= _EACH:
        order = sorted(scene.shapes, key=lambda s: (int(s.y / scene.height * 3), s.x))
        styles = ("tag", "tag", "tag first", "article")
        style = pick(rng, styles if number <= MOST else styles[:-1])
        named = [_placed(style, f"{s.colour} {s.kind}", place(scene, s) or "") for s in order]
    else:
        groups = _groups(scene)
        if len(groups) > _GROUPS:
            colours = Counter(shape.colour for shape in scene.shapes)
            kinds = Counter(shape.kind for shape in scene.shapes)
            groups = colours.most_common()
            groups += [(kind if n == 1 else PLURALS[kind][0], n) for kind, n in kinds.most_common()]
        named = [f"{count} {name}" for name, count in groups]
    total = f"{number} shape{'s' if number > 1 else ''}"
    return say(rng, "describe scene", what=", ".join(named), total=total)


def _placed(style: str, name: str, where: str) -> str:
    """Return a shape's name with its place, in the style `tag`, `tag first` or `article`."""
    if style == "tag":
        return f"{name} {where}"
    if style == "tag first":
        return f"{where} {name}"
    before = {"center": "in", "left": "on", "right": "on"}.get(where, "at")
    return f"{an(name)} {before} the {where}"


def _writing(writing: Writing, rng: np.random.Generator) -> str:
    """Return the text with its colour, or the first of many texts."""
    if len(writing.lines) > 1:
        return "writing: " + " ".join(line.text for line in writing.lines[:_LINES])
    line = writing.lines[0]
    thing = line.kind if line.kind in ("number", "letters") else "word"
    return say(rng, "describe writing", thing=thing, text=line.text, colour=line.colour)


def _chart(chart: Chart, rng: np.random.Generator) -> str:
    """Return the title, each bar with label and colour, the tallest and the shortest bar."""
    bars = [f"{bar.label.text} {bar.colour}" if bar.label else bar.colour for bar in chart.bars]
    tallest, shortest = (
        bar.label.text if bar.label else bar.colour for bar in (chart.tallest, chart.shortest)
    )
    return say(
        rng,
        "describe chart",
        title=f"titled {chart.title.text}" if chart.title else "",
        number=NUMBERS[len(bars)],
        bars=", ".join(bars),
        tallest=tallest,
        shortest=shortest,
    )


def _page(page: Page, rng: np.random.Generator) -> str:
    """Return the title, the number of small lines, the total, and the stamp with its word."""
    stamp = "no stamp"
    if page.stamp:
        word = f" {page.stamp.line.text}" if page.stamp.line else ""
        stamp = f"{page.stamp.colour} stamp{word}"
    return say(
        rng,
        "describe page",
        title=page.title.text,
        rows=f"{len(page.strokes)} line{'s' if len(page.strokes) > 1 else ''}",
        total=page.total.text,
        stamp=stamp,
    )
