"""Captions of scenes as people write or search them, and descriptions of any picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from numpy.random import Generator as Rng

from .shape_questions import MOST, place
from .things import COLOURS, SHAPES, Chart, Page, Picture, Scene, Writing
from .words import NUMBERS, PLURALS, an, lexicon, name, pick, say

#: More than any scene holds.
MANY = 99


class Claim(NamedTuple):
    """From `least` to `most` shapes have this colour and this kind; None stands for any."""

    colour: str | None
    kind: str | None
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Caption:
    """Words and all that they claim, so that training knows which other scenes they are true of."""

    text: str
    claims: Sequence[Claim] = ()
    background: str | None = None

    def holds(self, scene: Scene) -> bool:
        """Return whether the words are true of the scene."""
        fits = all(c.least <= scene.count(c.colour, c.kind) <= c.most for c in self.claims)
        return fits and self.background in (None, scene.background)


def caption(scene: Scene, rng: Rng) -> Caption:
    """Return a caption as people type it: of all shapes, of one or two, or of the background."""
    style, ground = rng.random(), scene.background
    claims: list[Claim] = []
    if scene.shapes and not (style < 0.06 and ground):
        whole = style < 0.62
        text, claims = _whole(scene, rng) if whole else _part(scene, rng)
        ground = ground if rng.random() < (0.7 if whole else 0.25) else None
        if ground:
            text = say(rng, "on ground", ground=ground, a=an(ground), list=text)
    elif ground:
        text = say(rng, "ground", ground=ground, a=an(ground))
        whole = pick(rng, (True, False))
    else:
        return Caption("an empty picture")
    text = say(rng, "picture of" if whole else "looking for", what=text)
    return Caption(_dressed(text, rng), claims, ground)


def _whole(scene: Scene, rng: Rng) -> tuple[str, list[Claim]]:
    """Return words for all shapes, in random order, at times short labels: "2x red-circle"."""
    counts = list(scene.sorts().items())
    groups = [counts[int(i)] for i in rng.permutation(len(counts))]
    claims = [Claim(None, None, len(scene.shapes), len(scene.shapes))]
    claims += [Claim(*sort, count, count) for sort, count in groups]
    if rng.random() >= 0.15:
        named = [_number(rng, n, name(rng, sort), name(rng, sort, True)) for sort, n in groups]
        return _join(rng, named), claims
    tags = []
    for sort, n in groups:
        first, second = reversed(sort) if rng.random() < 0.25 else sort
        tag = f"{first}{pick(rng, '  -_')}{second}"
        counted = f"{n}x {tag}", f"{n} {tag}", f"{tag} x{n}", f"{tag} {n}"
        tags.append(tag if n == 1 else pick(rng, counted))
    return ", ".join(tags), claims


def _part(scene: Scene, rng: Rng) -> tuple[str, list[Claim]]:
    """Return words for one or two things, as people write who look for such a picture."""
    named, claims = [], []
    for _ in range(1 if rng.random() < 0.65 else 2):
        shape, style = pick(rng, scene.shapes), rng.random()
        colour = shape.colour if style < 0.78 else None
        kind = shape.kind if style < 0.6 or 0.78 <= style < 0.94 else None
        count, word = scene.count(colour, kind), pick(rng, ("shape", "object", "figure", "thing"))
        one = name(rng, (colour, kind)) if kind else f"{colour or ''} {word}".strip()
        many = name(rng, (colour, kind), True) if kind else f"{one}s"
        if (count == 1 and rng.random() < 0.9) or rng.random() < 0.35:
            least, words = 1, pick(rng, (an(one), an(one), one, f"some {one}"))
        elif count > 1 and rng.random() < 0.3:
            least, words = 2, pick(rng, (many, f"several {many}", f"some {many}"))
        else:  # who asks for two may accept three: such a pair is no contradiction
            least, words = count, _number(rng, count, one, many)
        named.append(words)
        claims.append(Claim(colour, kind, least, MANY))
    return _join(rng, list(dict.fromkeys(named))), claims


def _number(rng: Rng, count: int, one: str, many: str) -> str:
    """Return words for so many: a circle, one circle, two circles, 2 circles, a pair of circles."""
    style = rng.random()
    if count == 1:
        return an(one) if style < 0.7 else pick(rng, (f"one {one}", one, f"1 {one}"))
    if count == 2 and style < 0.15:
        return f"{pick(rng, ('a pair of', 'a couple of', 'both', 'two'))} {many}"
    return f"{NUMBERS[count] if count < len(NUMBERS) and style < 0.8 else count} {many}"


def _join(rng: Rng, parts: Sequence[str]) -> str:
    style = rng.random()
    if len(parts) == 1 or style < 0.3:
        return ("; " if style < 0.05 else " and " if style < 0.15 else ", ").join(parts)
    last = pick(rng, (" and ", ", and ", " and also ", " plus ", " & "))
    return ", ".join(parts[:-1]) + last + parts[-1]


def _dressed(text: str, rng: Rng) -> str:
    """Return the text in some case, at times with a full stop and words that mean nothing here."""

    def noise() -> str:
        return " ".join(pick(rng, lexicon()) for _ in range(int(rng.integers(1, 7))))

    chance = rng.random(5)
    if chance[0] < 0.15:
        text = f"{noise()}{pick(rng, (' ', ', ', ': ', '. '))}{text}"
    if chance[1] < 0.1:
        text = f"{text}{pick(rng, (' ', ', ', '. '))}{noise()}"
    if chance[2] < 0.08:
        words = text.split(" ")
        words.insert(int(rng.integers(len(words) + 1)), pick(rng, lexicon()))
        text = " ".join(words)
    if chance[3] < 0.53:
        text = text[0].upper() + text[1:] if chance[3] < 0.5 else text.upper()
    return f"{text}." if text[-1] not in "?." and chance[4] < 0.25 else text


def _groups(scene: Scene) -> list[tuple[str, int]]:
    """Return colour with kind and the number of such shapes, in the order of the constants."""
    counts = scene.sorts()
    sorts = [(sort, counts[sort]) for sort in product(COLOURS, SHAPES) if sort in counts]
    return [(f"{colour} {PLURALS[kind][0] if n > 1 else kind}", n) for (colour, kind), n in sorts]


def brief(picture: Picture) -> str | None:
    """Return a caption in one fixed form, None for a scene of no or more than `MOST` shapes."""
    ground = f" on {an(picture.background)} background" if picture.background else ""
    if isinstance(picture, Writing):
        line = picture.lines[0]
        return f"the {'number' if line.kind == 'number' else 'word'} {line.text}{ground}"
    if isinstance(picture, Chart):
        top, number = picture.tallest, NUMBERS[len(picture.bars)]
        bar = f"bar {top.label.text}" if top.label else f"the {top.colour} bar"
        return f"a bar chart with {number} bars, {bar} is the tallest"
    if isinstance(picture, Page):
        stamp = an(f"{picture.stamp.colour} stamp") if picture.stamp else "no stamp"
        title, total = picture.title.text, picture.total.text
        return f"a page with the title {title}, the total {total} and {stamp}"
    if not 0 < len(picture.shapes) <= MOST:
        return None
    named = [f"{NUMBERS[n]} {sort}" if n > 1 else an(sort) for sort, n in _groups(picture)]
    return ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1] + ground


def describe(picture: Picture, rng: Rng) -> str:
    """Return a dense description of any picture: all that it shows, about 60 tokens at most."""
    if isinstance(picture, Page):
        stamp, rows = picture.stamp, len(picture.strokes)
        word = f" {stamp.line.text}" if stamp and stamp.line else ""
        slots = {"title": picture.title.text, "total": picture.total.text}
        slots["rows"] = f"{rows} line{'s' if rows > 1 else ''}"
        slots["stamp"] = f"{stamp.colour} stamp{word}" if stamp else "no stamp"
        return say(rng, "describe page", **slots)
    if isinstance(picture, Scene):
        text = _describe_scene(picture, rng)
    elif isinstance(picture, Chart):
        title = f"titled {picture.title.text}" if picture.title else ""
        bars = (*picture.bars, picture.tallest, picture.shortest)
        *_, tallest, shortest = (bar.label.text if bar.label else bar.colour for bar in bars)
        order = 1 if rng.random() < 0.5 else -1
        named = [(bar.label.text, bar.colour) if bar.label else (bar.colour,) for bar in bars[:-2]]
        every = [" ".join(words[::order]) for words in named]
        slots = {"title": title, "number": NUMBERS[len(every)], "bars": ", ".join(every)}
        text = say(rng, "describe chart", tallest=tallest, shortest=shortest, **slots)
    elif len(picture.lines) > 1:
        text = "writing: " + " ".join(line.text for line in picture.lines[:12])
    else:
        line = picture.lines[0]
        text = say(rng, "describe writing", thing=line.kind, text=line.text, colour=line.colour)
    ground = picture.background
    if ground is None or rng.random() < 0.15:
        return text
    return say(rng, "describe ground", what=text, ground=ground, a=an(ground))


def _describe_scene(scene: Scene, rng: Rng) -> str:
    """Return up to eight shapes with their places in reading order, or else how many of each.

    Colour comes before kind or after it, so that either is looked up by the other.
    """
    number, groups = len(scene.shapes), _groups(scene)
    if number == 0:
        return "no shapes"
    if number > 8:
        if len(groups) > 10:
            kinds = Counter(shape.kind for shape in scene.shapes).most_common()
            groups = Counter(shape.colour for shape in scene.shapes).most_common()
            groups += [(kind if n == 1 else PLURALS[kind][0], n) for kind, n in kinds]
        named = [f"{n} {sort}" for sort, n in groups]
    else:
        named, style = [], int(rng.integers(5 if number <= MOST else 4))
        for s in sorted(scene.shapes, key=lambda s: (int(s.y / scene.height * 3), s.x)):
            sort, where = f"{s.colour} {s.kind}", place(scene, s) or ""
            before = {"center": "in", "left": "on", "right": "on"}.get(where, "at")
            swapped = f"{s.kind} {s.colour}"
            tags = tuple(f"{words} {where}" for words in (sort, swapped))
            tags += tuple(f"{where} {words}" for words in (sort, swapped))
            named.append((*tags, f"{an(sort)} {before} the {where}")[style])
    total = f"{number} shape{'s' if number > 1 else ''}"
    return say(rng, "describe scene", what=", ".join(named), total=total)
