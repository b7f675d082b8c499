"""How well words find pictures and pictures words, among pictures that were never trained on.

An ``embed`` for texts and one for pictures go in; shares come out, beside what chance would reach.
Three trials: ``own`` (the training renderer and phrasings, unseen seeds), ``words`` (the training
renderer, phrasings never trained on) and ``stranger`` (the second renderer as well). In each, a
hundred pictures of a hundred different scenes are searched, several times over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import held_out
from .captions import NUMBERS, Caption, Claim, groups_of, part, whole
from .draw import draw
from .words import an, pick
from .world import COLOURS, SHAPES, Scene, sample_scene

_SEED = 1_000_003
"""Evaluation draws from seeds ``(_SEED, …)``; no stage of training does."""
SIZE = 200
"""Pictures among which each is looked for."""

Vectors = NDArray[np.float32]

WHOLE = (
    "I remember exactly this: {list}. Behind it all was {ground}.",
    "Could you dig out the one where somebody put {list} onto a {ground} sheet?",
    "My daughter made it: {list}, everything on {ground} paper.",
    "A sketch consisting of {list}; the page itself was {ground}.",
    "Here we have got {list} with {ground} behind.",
)
WHOLE_BARE = (
    "I remember exactly this: {list}.",
    "Could you dig out the one where somebody put {list}?",
    "My daughter made it: {list}, no more than that.",
    "A sketch consisting of {list}.",
    "Here we have got {list}.",
)
PART = (
    "Does our archive hold anything that includes {what}?",
    "Something featuring {what}, if possible",
    "the sheet bearing {what}",
    "Retrieve whatever depicts {what} among other stuff",
    "Every slide on which {what} appears",
)
"""Phrasings for evaluation only, written by hand; a test holds that training has none of them."""

RESPECTS = ("colour", "shape", "background", "number", "colours swapped")


@dataclass(frozen=True, slots=True)
class Trial:
    """Pictures of different scenes, a caption of all that each shows, and one of a part of it."""

    scenes: list[Scene]
    images: list[Image.Image]
    wholes: list[Caption]
    parts: list[Caption]


def trial(name: str, size: int = SIZE, seed: int = 0) -> Trial:
    """A trial ``own``, ``words`` or ``stranger``; no two scenes hold the same shapes."""
    rng = np.random.default_rng((_SEED, 7, ("own", "words", "stranger").index(name), seed))
    strange = name == "stranger"
    scenes: dict[frozenset[tuple[str, str, int]], Scene] = {}
    while len(scenes) < size:
        scene = held_out.sample(rng) if strange else sample_scene(rng)
        if scene.shapes:
            scenes.setdefault(frozenset(groups_of(scene, rng)), scene)
    chosen = list(scenes.values())
    told, asked = (whole, part) if name == "own" else (strange_whole, strange_part)
    return Trial(
        chosen,
        [held_out.render(s, rng) if strange else draw(s, rng).image for s in chosen],
        [told(scene, rng) for scene in chosen],
        [asked(scene, rng) for scene in chosen],
    )


def strange_whole(scene: Scene, rng: np.random.Generator) -> Caption:
    """All that is there, background included where it has a name, in a stranger's words."""
    groups = groups_of(scene, rng)
    named = [_some(colour, kind, count) for colour, kind, count in groups]
    listed = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} as well as {named[-1]}"
    frames = WHOLE_BARE if scene.background is None else WHOLE
    claims = [Claim(None, None, len(scene.shapes), len(scene.shapes))]
    claims += [Claim(colour, kind, count, count) for colour, kind, count in groups]
    text = pick(rng, frames).format(list=listed, ground=scene.background)
    return Caption(text, tuple(claims), scene.background)


def strange_part(scene: Scene, rng: np.random.Generator) -> Caption:
    """One sort of shape that is there, in a stranger's words."""
    shape = pick(rng, scene.shapes)
    text = pick(rng, PART).format(what=an(f"{shape.colour} {shape.kind}"))
    return Caption(text, (Claim(shape.colour, shape.kind, 1, 99),))


def _some(colour: str, kind: str, count: int) -> str:
    plural = f"{kind}es" if kind == "cross" else f"{kind}s"
    return an(f"{colour} {kind}") if count == 1 else f"{NUMBERS[count]} {colour} {plural}"


def figures(
    one: Trial,
    embed_texts: Callable[[Sequence[str]], Vectors],
    embed_images: Callable[[Sequence[Image.Image]], Vectors],
) -> dict[str, float]:
    """Shares of one trial, 0–1.

    ``text 1`` and ``text 5``: the described picture is the first, among the first five, of all;
    ``picture 1``, ``picture 5``: the same for the picture's own caption among all captions;
    ``part 1``: the first picture for a query holds what it asks for; ``part chance``: a random
    one does.
    """
    pictures = embed_images(one.images)
    scores = embed_texts([caption.text for caption in one.wholes]) @ pictures.T
    asked = embed_texts([caption.text for caption in one.parts]) @ pictures.T
    true = np.array([[query.holds(scene) for scene in one.scenes] for query in one.parts])
    return {
        "text 1": _within(scores, 1),
        "text 5": _within(scores, 5),
        "picture 1": _within(scores.T, 1),
        "picture 5": _within(scores.T, 5),
        "part 1": float(true[np.arange(len(true)), asked.argmax(1)].mean()),
        "part chance": float(true.mean()),
    }


def neighbours(
    embed_texts: Callable[[Sequence[str]], Vectors],
    embed_images: Callable[[Sequence[Image.Image]], Vectors],
    pairs: int = 200,
) -> dict[str, float]:
    """How often a caption lies nearer its own picture than one that differs in a single respect.

    By respect, 0–1, on the training renderer in words never trained on; chance is a half.
    """
    told = {}
    for number, respect in enumerate(RESPECTS):
        rng = np.random.default_rng((_SEED, 8, number))
        found: list[tuple[Scene, Scene]] = []
        while len(found) < pairs:
            scene = sample_scene(rng)
            other = differing(scene, respect, rng)
            if other is not None:
                found.append((scene, other))
        texts = embed_texts([strange_whole(scene, rng).text for scene, _ in found])
        own = embed_images([draw(scene, rng).image for scene, _ in found])
        others = embed_images([draw(other, rng).image for _, other in found])
        told[respect] = float(((texts * own).sum(1) > (texts * others).sum(1)).mean())
    return told


def differing(scene: Scene, respect: str, rng: np.random.Generator) -> Scene | None:
    """The scene with one thing changed, or ``None`` where it cannot be.

    "number" takes one of several equal shapes away; "colours swapped" exchanges two colours, so
    that only which goes with which has changed.
    """
    shapes = [scene.shapes[int(i)] for i in rng.permutation(len(scene.shapes))]
    if not shapes:
        return None
    first, rest = shapes[0], shapes[1:]
    used = {scene.background, *(shape.colour for shape in shapes)}
    unused = [colour for colour in COLOURS if colour not in used]
    if respect == "colour":
        return replace(scene, shapes=(replace(first, colour=pick(rng, unused)), *rest))
    if respect == "shape":
        kinds = [kind for kind in SHAPES if kind != first.kind]
        return replace(scene, shapes=(replace(first, kind=pick(rng, kinds)), *rest))
    if respect == "background":
        return replace(scene, background=pick(rng, unused)) if scene.background else None
    if respect == "number":
        several = scene.count(first.colour, first.kind) > 1
        return replace(scene, shapes=tuple(rest)) if several else None
    if not rest or len({shape.kind for shape in shapes}) < 2:
        return None
    second = rest[0]
    swapped = (replace(first, colour=second.colour), replace(second, colour=first.colour))
    other = replace(scene, shapes=(*swapped, *rest[1:]))
    alike = sorted(groups_of(scene, rng)) == sorted(groups_of(other, rng))
    return None if alike else other


def _within(scores: Vectors, first: int) -> float:
    """Share of rows whose own column is among the ``first`` highest."""
    own = scores[np.arange(len(scores)), np.arange(len(scores))]
    return float(((scores > own[:, None]).sum(1) < first).mean())


def examine(
    embed_texts: Callable[[Sequence[str]], Vectors],
    embed_images: Callable[[Sequence[Image.Image]], Vectors],
    times: int = 3,
    size: int = SIZE,
) -> dict[str, dict[str, float]]:
    """Mean shares of each trial over ``times`` sets of ``size`` pictures."""
    told = {}
    for name in ("own", "words", "stranger"):
        trials = (trial(name, size, seed) for seed in range(times))
        runs = [figures(one, embed_texts, embed_images) for one in trials]
        told[name] = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
    return told


def table(told: dict[str, dict[str, float]], size: int = SIZE) -> str:
    """A Markdown table of percentages, chance last."""
    keys = ("text 1", "text 5", "picture 1", "picture 5", "part 1")
    lines = [f"| trial | {' | '.join(keys)} |", "|-|" + "-|" * len(keys)]
    for name, shares in told.items():
        lines.append(f"| {name} | {' | '.join(f'{100 * shares[key]:.0f}' for key in keys)} |")
    parts = "–".join(
        f"{100 * bound(shares['part chance'] for shares in told.values()):.0f}"
        for bound in (min, max)
    )
    chance = [f"{100 * first / size:.1f}" for first in (1, 5, 1, 5)]
    return "\n".join([*lines, f"| chance | {' | '.join([*chance, parts])} |"])
