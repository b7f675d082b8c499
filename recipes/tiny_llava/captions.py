"""Captions: what people write beside a picture, or type to find it, with what they claim.

A :class:`~recipes.tiny_llava.world.Scene` and a seeded generator go in; a :class:`Caption` comes
out: its words and its claims, which say of any other scene whether the same words would be true
of it. Contrastive training must not push such a pair apart. Words are composed from templates in
the manner of :mod:`~recipes.tiny_llava.phrasings`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .lexicon import WORDS
from .phrasings import VIEW, phrase
from .words import an, pick, plural, singular
from .world import COLOURS, SHAPES, Scene

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")

HERE = (
    f"{{a|an|the|this|my|}} {VIEW} {{of|showing|with|that shows|containing|that contains}} <what>",
    "{there is|there are|we see|you see|i see|it shows|shown:|this shows} <what>",
    f"<what> {{in|on}} {{a|the|this|one}} {VIEW}",
    "<what> {drawn|painted|depicted|together|on a canvas|}",
    "<what>",
    "<what>",
    "{just|only|exactly|nothing but} <what>",
)
LOOKING = (
    "{pictures|images|photos|drawings|any picture|all images|an image|a picture} "
    "{with|of|showing|that have|containing|where i can see|in which there is|featuring} <what>",
    f"{{find|show|show me|search for|look for|get me|give me|i want|i need}} {{the|a|}} {VIEW} "
    "{with|of|showing|containing} <what>",
    f"{{which|what}} {VIEW} {{has|shows|contains|includes}} <what>{{?|}}",
    "{where is|where are|where did i see|is there|do we have} <what>{?|}",
    "<what>",
    "<what> {picture|image|drawing|please|}",
)
GROUND = (
    "<list> {on|against|over|in front of} <a> {background|backdrop|ground}",
    "<list> {on|against|over} {plain|solid|}{ | a } <ground>",
    "<list>, {the|with a|and a} {background|backdrop} {is|in|of|coloured} <ground>",
    "<list>{,| and|, with|;} <a> background",
    "<a> {background|canvas|picture} with <list>",
    "{on|against} <a> {background|canvas|ground}: <list>",
    "<ground> background, <list>",
)
GROUND_ALONE = (
    "<a> {background|backdrop|canvas|ground}",
    "{a|the} {background|backdrop} {of|in|painted|coloured} <ground>",
    "{something|anything|shapes|things} on <ground>",
)


@dataclass(frozen=True, slots=True)
class Claim:
    """So many shapes, ``least`` to ``most``, of a colour and a kind; ``None`` stands for any."""

    colour: str | None
    kind: str | None
    least: int
    most: int


MANY = 99


@dataclass(frozen=True, slots=True)
class Caption:
    """Words about a scene, and all that they claim; no ``background`` claims nothing about it."""

    text: str
    claims: tuple[Claim, ...]
    background: str | None = None

    def holds(self, scene: Scene) -> bool:
        """Whether the words are true of the scene."""
        return (self.background is None or self.background == scene.background) and all(
            claim.least <= scene.count(claim.colour, claim.kind) <= claim.most
            for claim in self.claims
        )


def whole(scene: Scene, rng: np.random.Generator, ground: float = 0.7) -> Caption:
    """Everything that is there; the background, where it has a name, with chance ``ground``."""
    groups = groups_of(scene, rng)
    named, claims = [], [Claim(None, None, len(scene.shapes), len(scene.shapes))]
    manner = rng.random()
    for colour, kind, count in groups:
        named.append(
            _tag(rng, colour, kind, count)
            if manner > 0.85
            else _number(
                rng, count, f"{colour} {singular(rng, kind)}", f"{colour} {plural(rng, kind)}"
            )
        )
        claims.append(Claim(colour, kind, count, count))
    listed = ", ".join(named) if manner > 0.85 else join(rng, named)
    return _framed(listed, tuple(claims), scene, rng, HERE, ground)


def part(scene: Scene, rng: np.random.Generator) -> Caption:
    """One or two things that are there, as somebody asks who looks for such a picture."""
    things = [_thing(scene, rng) for _ in range(1 if rng.random() < 0.65 else 2)]
    named = list(dict.fromkeys(words for words, _ in things))
    claims = tuple(claim for _, claim in things)
    return _framed(join(rng, named), claims, scene, rng, LOOKING, 0.25)


def ground(scene: Scene, rng: np.random.Generator) -> Caption:
    """The background alone; the scene must have one with a name."""
    assert scene.background is not None
    slots = {"ground": scene.background, "a": an(scene.background)}
    text = phrase(rng, GROUND_ALONE, slots)
    return Caption(phrase(rng, (*HERE, *LOOKING), {"what": text}), (), scene.background)


def caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """A random caption as somebody may type it: whole, part or background."""
    manner = rng.random()
    if not scene.shapes or (manner < 0.06 and scene.background is not None):
        told = ground(scene, rng) if scene.background else Caption("an empty picture", ())
    else:
        told = whole(scene, rng) if manner < 0.62 else part(scene, rng)
    return replace(told, text=_dressed(told.text, rng))


def groups_of(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str, int]]:
    """Colour, kind and number of each sort of shape, in random order."""
    counted = Counter((shape.colour, shape.kind) for shape in scene.shapes)
    groups = [(colour, kind, count) for (colour, kind), count in counted.items()]
    return [groups[int(i)] for i in rng.permutation(len(groups))]


def join(rng: np.random.Generator, parts: Sequence[str]) -> str:
    """A list in words: commas and "and", or one of them."""
    manner = rng.random()
    if len(parts) == 1 or manner < 0.15:
        return ", ".join(parts)
    if manner < 0.25:
        return " and ".join(parts)
    if manner < 0.3:
        return "; ".join(parts)
    last = pick(rng, (" and ", ", and ", " and also ", " plus ", " & "))
    return ", ".join(parts[:-1]) + last + parts[-1]


def _framed(
    listed: str,
    claims: tuple[Claim, ...],
    scene: Scene,
    rng: np.random.Generator,
    frames: Sequence[str],
    chance: float,
) -> Caption:
    """The list in a sentence, with the background at times."""
    background = scene.background if rng.random() < chance else None
    if background is not None:
        slots = {"ground": background, "a": an(background), "list": listed}
        listed = phrase(rng, GROUND, slots)
    return Caption(phrase(rng, frames, {"what": listed}), claims, background)


def _thing(scene: Scene, rng: np.random.Generator) -> tuple[str, Claim]:
    """Words for something in the scene, by colour and kind, one of them or neither."""
    shape = pick(rng, scene.shapes)
    manner = rng.random()
    colour = shape.colour if manner < 0.78 else None
    kind = shape.kind if manner < 0.6 or 0.78 <= manner < 0.94 else None
    count = scene.count(colour, kind)
    word = pick(rng, ("shape", "object", "figure", "thing"))
    one, many = (singular(rng, kind), plural(rng, kind)) if kind else (word, f"{word}s")
    lead = f"{colour} " if colour else ""
    one, many = lead + one, lead + many
    if (count == 1 and rng.random() < 0.9) or rng.random() < 0.35:
        return pick(rng, (an(one), an(one), one, f"some {one}")), Claim(colour, kind, 1, MANY)
    if count > 1 and rng.random() < 0.3:
        return pick(rng, (many, f"several {many}", f"some {many}")), Claim(colour, kind, 2, MANY)
    # Somebody who asks for two may be content with three: such a pair is no contradiction.
    return _number(rng, count, one, many), Claim(colour, kind, count, MANY)


def _number(rng: np.random.Generator, count: int, one: str, many: str) -> str:
    """So many of a thing: a circle, one circle, two circles, 2 circles, a pair of circles."""
    manner = rng.random()
    if count == 1:
        return an(one) if manner < 0.7 else pick(rng, (f"one {one}", one, f"1 {one}"))
    if count == 2 and manner < 0.15:
        return f"{pick(rng, ('a pair of', 'a couple of', 'both', 'twice a'))} {many}".replace(
            f"twice a {many}", f"two {many}"
        )
    if count < len(NUMBERS) and manner < 0.8:
        return f"{NUMBERS[count]} {many}"
    return f"{count} {many}"


def _tag(rng: np.random.Generator, colour: str, kind: str, count: int) -> str:
    """Short as a label: "red circle", "circle red", "2x red circle", "red-circle"."""
    name = pick(
        rng, (f"{colour} {kind}", f"{kind} {colour}", f"{colour}-{kind}", f"{colour}_{kind}")
    )
    if count == 1:
        return name
    return pick(rng, (f"{count}x {name}", f"{count} {name}", f"{name} x{count}", f"{name} {count}"))


def _dressed(text: str, rng: np.random.Generator) -> str:
    """Case, a full stop, and at times words that mean nothing here, before, after or within."""
    chance = rng.random(4)
    if chance[0] < 0.15:
        text = f"{_noise(rng)}{pick(rng, (' ', ', ', ': ', '. '))}{text}"
    if chance[1] < 0.1:
        text = f"{text}{pick(rng, (' ', ', ', '. '))}{_noise(rng)}"
    if chance[2] < 0.08:
        words = text.split(" ")
        words.insert(int(rng.integers(len(words) + 1)), pick(rng, WORDS))
        text = " ".join(words)
    if chance[3] < 0.5:
        text = text[0].upper() + text[1:]
    elif chance[3] < 0.53:
        text = text.upper()
    return f"{text}." if text[-1] not in "?." and rng.random() < 0.25 else text


def _noise(rng: np.random.Generator) -> str:
    """One to six words that say nothing about shapes."""
    return " ".join(pick(rng, WORDS) for _ in range(int(rng.integers(1, 7))))


def alter(scene: Scene, rng: np.random.Generator) -> Scene:
    """A scene that differs in one respect: a colour, a kind, two colours swapped, one shape less.

    Telling such neighbours apart is what retrieval asks for. Now and then the respect is one that
    they share, and nothing differs.
    """
    shapes, manner = list(scene.shapes), int(rng.integers(5))
    if not shapes or manner == 4:
        used = {shape.colour for shape in shapes}
        return replace(scene, background=pick(rng, [c for c in COLOURS if c not in used]))
    index = int(rng.integers(len(shapes)))
    shape = shapes[index]
    if manner == 0:
        others = [c for c in COLOURS if c not in (shape.colour, scene.background)]
        shapes[index] = replace(shape, colour=pick(rng, others))
    elif manner == 1 and len(shapes) > 1:
        del shapes[index]
    elif manner == 2 and len(shapes) > 1:
        other = (index + int(rng.integers(1, len(shapes)))) % len(shapes)
        shapes[index] = replace(shape, colour=shapes[other].colour)
        shapes[other] = replace(shapes[other], colour=shape.colour)
    else:
        shapes[index] = replace(shape, kind=pick(rng, [k for k in SHAPES if k != shape.kind]))
    return replace(scene, shapes=tuple(shapes))
