"""Captions of scenes: what people write beside a picture, or type to find it.

A caption knows what it claims, so that contrastive training does not push it away from other
scenes that it is true of. `describe` covers pictures of any type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .descriptions import describe
from .shape_questions import say
from .things import Scene
from .words import NUMBERS, an, lexicon, pick, plural, singular

__all__ = ["MANY", "Caption", "Claim", "caption", "describe"]

#: More than any scene holds.
MANY = 99


@dataclass(frozen=True, slots=True)
class Claim:
    """From `least` to `most` shapes have this colour and this kind; None stands for any."""

    colour: str | None
    kind: str | None
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Caption:
    """Words about a scene and all that they claim; None claims nothing about the background."""

    text: str
    claims: tuple[Claim, ...]
    background: str | None = None

    def holds(self, scene: Scene) -> bool:
        """Return whether the words are true of the scene."""
        return self.background in (None, scene.background) and all(
            claim.least <= scene.count(claim.colour, claim.kind) <= claim.most
            for claim in self.claims
        )


def caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """Return a caption as people type it: of all shapes, of one or two, or of the background."""
    style, background = rng.random(), scene.background
    if not scene.shapes or (style < 0.06 and background):
        if background is None:
            return Caption("an empty picture", ())
        text = say(rng, "ground", ground=background, a=an(background))
        text = say(rng, pick(rng, ("picture of", "looking for")), what=text)
        return Caption(_dressed(text, rng), (), background)
    whole = style < 0.62
    text, claims = _whole(scene, rng) if whole else _part(scene, rng)
    background = background if rng.random() < (0.7 if whole else 0.25) else None
    if background is not None:
        text = say(rng, "on ground", ground=background, a=an(background), list=text)
    text = say(rng, "picture of" if whole else "looking for", what=text)
    return Caption(_dressed(text, rng), claims, background)


def _whole(scene: Scene, rng: np.random.Generator) -> tuple[str, tuple[Claim, ...]]:
    """Return words for all shapes, in random order, or short labels."""
    counts = list(Counter((shape.colour, shape.kind) for shape in scene.shapes).items())
    groups = [counts[int(i)] for i in rng.permutation(len(counts))]
    claims = [Claim(None, None, len(scene.shapes), len(scene.shapes))]
    claims += [Claim(*sort, count, count) for sort, count in groups]
    if rng.random() < 0.15:
        return ", ".join(_tag(rng, *sort, count) for sort, count in groups), tuple(claims)
    named = [
        _number(rng, count, f"{colour} {singular(rng, kind)}", f"{colour} {plural(rng, kind)}")
        for (colour, kind), count in groups
    ]
    return _join(rng, named), tuple(claims)


def _part(scene: Scene, rng: np.random.Generator) -> tuple[str, tuple[Claim, ...]]:
    """Return words for one or two things, as people write who look for such a picture."""
    things = [_thing(scene, rng) for _ in range(1 if rng.random() < 0.65 else 2)]
    named = list(dict.fromkeys(words for words, _ in things))
    return _join(rng, named), tuple(claim for _, claim in things)


def _thing(scene: Scene, rng: np.random.Generator) -> tuple[str, Claim]:
    """Return words for a thing in the scene, by colour and kind, one of them or neither."""
    shape, style = pick(rng, scene.shapes), rng.random()
    colour = shape.colour if style < 0.78 else None
    kind = shape.kind if style < 0.6 or 0.78 <= style < 0.94 else None
    count, word = scene.count(colour, kind), pick(rng, ("shape", "object", "figure", "thing"))
    lead = f"{colour} " if colour else ""
    one = lead + (singular(rng, kind) if kind else word)
    many = lead + (plural(rng, kind) if kind else f"{word}s")
    if (count == 1 and rng.random() < 0.9) or rng.random() < 0.35:
        return pick(rng, (an(one), an(one), one, f"some {one}")), Claim(colour, kind, 1, MANY)
    if count > 1 and rng.random() < 0.3:
        return pick(rng, (many, f"several {many}", f"some {many}")), Claim(colour, kind, 2, MANY)
    # Who asks for two may accept three: such a pair is no contradiction.
    return _number(rng, count, one, many), Claim(colour, kind, count, MANY)


def _number(rng: np.random.Generator, count: int, one: str, many: str) -> str:
    """Return words for so many: a circle, one circle, two circles, 2 circles, a pair of circles."""
    style = rng.random()
    if count == 1:
        return an(one) if style < 0.7 else pick(rng, (f"one {one}", one, f"1 {one}"))
    if count == 2 and style < 0.15:
        return f"{pick(rng, ('a pair of', 'a couple of', 'both', 'two'))} {many}"
    return f"{NUMBERS[count] if count < len(NUMBERS) and style < 0.8 else count} {many}"


def _tag(rng: np.random.Generator, colour: str, kind: str, count: int) -> str:
    """Return a short label: "red circle", "circle red", "2x red circle", "red-circle"."""
    first, second = (kind, colour) if rng.random() < 0.25 else (colour, kind)
    name = f"{first}{pick(rng, '  -_')}{second}"
    counted = (f"{count}x {name}", f"{count} {name}", f"{name} x{count}", f"{name} {count}")
    return name if count == 1 else pick(rng, counted)


def _join(rng: np.random.Generator, parts: Sequence[str]) -> str:
    style = rng.random()
    if len(parts) == 1 or style < 0.3:
        return ("; " if style < 0.05 else " and " if style < 0.15 else ", ").join(parts)
    last = pick(rng, (" and ", ", and ", " and also ", " plus ", " & "))
    return ", ".join(parts[:-1]) + last + parts[-1]


def _dressed(text: str, rng: np.random.Generator) -> str:
    """Return the text in some case, at times with a full stop and words that mean nothing here."""
    chance = rng.random(5)
    if chance[0] < 0.15:
        text = f"{_noise(rng)}{pick(rng, (' ', ', ', ': ', '. '))}{text}"
    if chance[1] < 0.1:
        text = f"{text}{pick(rng, (' ', ', ', '. '))}{_noise(rng)}"
    if chance[2] < 0.08:
        words = text.split(" ")
        words.insert(int(rng.integers(len(words) + 1)), pick(rng, lexicon()))
        text = " ".join(words)
    if chance[3] < 0.53:
        text = text[0].upper() + text[1:] if chance[3] < 0.5 else text.upper()
    return f"{text}." if text[-1] not in "?." and chance[4] < 0.25 else text


def _noise(rng: np.random.Generator) -> str:
    return " ".join(pick(rng, lexicon()) for _ in range(int(rng.integers(1, 7))))
