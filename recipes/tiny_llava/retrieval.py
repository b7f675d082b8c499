"""How well words find images and images words, among images that no training shows.

Three trials, each in two hundred different scenes: `own` (the training renderer and phrasings with
unseen seeds), `words` (the training renderer, phrasings of `data/retrieval.txt`) and `stranger`
(the second renderer as well).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from . import render, stranger
from .captions import MANY, Caption, Claim, caption
from .exam import SEED
from .sample import sample_scene
from .things import COLOURS, SHAPES, Scene
from .words import NUMBERS, PLURALS, an, load, phrase, pick

#: Images among which each is searched for.
SIZE = 200
TRIALS = ("own", "words", "stranger")
#: In what two images of `neighbours` differ.
RESPECTS = ("colour", "shape", "background", "number", "colours swapped")

#: From n texts or images to unit vectors, float (n, width).
Embed = Callable[[Any], ArrayLike]


@dataclass(frozen=True, slots=True)
class Trial:
    """Images of different scenes, a caption of all that each shows, and one of a part of it."""

    scenes: list[Scene]
    images: list[Image.Image]
    wholes: list[Caption]
    parts: list[Caption]


def trial(name: str, size: int = SIZE, seed: int = 0) -> Trial:
    """Return one of `TRIALS`; no two of its scenes hold the same shapes."""
    rng = np.random.default_rng((SEED, 7, TRIALS.index(name), seed))
    sample: Any = stranger.sample_scene if name == "stranger" else sample_scene
    draw: Any = stranger.draw_scene if name == "stranger" else render.draw
    different: dict[frozenset[Any], Scene] = {}
    while len(different) < size:
        if (scene := sample(rng)).shapes:
            different.setdefault(frozenset(scene.sorts().items()), scene)
    scenes = list(different.values())
    images = [draw(scene, rng).image for scene in scenes]
    whole, part = strange_whole, strange_part
    if name == "own":
        whole, part = partial(_own, whole=True), partial(_own, whole=False)
    wholes = [whole(scene, rng) for scene in scenes]
    return Trial(scenes, images, wholes, [part(scene, rng) for scene in scenes])


def _all(scene: Scene) -> Claim:
    return Claim(None, None, len(scene.shapes), len(scene.shapes))


def _own(scene: Scene, rng: np.random.Generator, whole: bool) -> Caption:
    """Return a caption of all shapes, or of one or two, as training has them."""
    while True:
        found = caption(scene, rng)
        if found.claims and (_all(scene) in found.claims) == whole:
            return found


def strange_whole(scene: Scene, rng: np.random.Generator) -> Caption:
    """Return a caption of all shapes, and of the background where it has a name."""
    groups = list(scene.sorts().items())
    groups = [groups[int(i)] for i in rng.permutation(len(groups))]
    named = [
        an(f"{colour} {kind}") if count == 1 else f"{NUMBERS[count]} {colour} {PLURALS[kind][0]}"
        for (colour, kind), count in groups
    ]
    listed = " as well as ".join([", ".join(named[:-1]), named[-1]] if named[1:] else named)
    key = "whole" if scene.background else "whole without background"
    text = phrase(rng, load("retrieval")[key], {"list": listed, "ground": scene.background or ""})
    claims = [_all(scene), *(Claim(*sort, count, count) for sort, count in groups)]
    return Caption(text, tuple(claims), scene.background)


def strange_part(scene: Scene, rng: np.random.Generator) -> Caption:
    """Return a caption of one sort of shape that is there."""
    shape = pick(rng, scene.shapes)
    text = phrase(rng, load("retrieval")["part"], {"what": an(f"{shape.colour} {shape.kind}")})
    return Caption(text, (Claim(shape.colour, shape.kind, 1, MANY),))


def figures(one: Trial, embed_texts: Embed, embed_images: Embed) -> dict[str, float]:
    """Return shares of a trial, 0-1.

    `text 1`, `text 5`: the described image is the first, or among the first five, of all. `image
    1`, `image 5`: the same for an image's own caption. `part 1`: the first image holds what is
    searched for; `part chance`: a random one does.
    """
    images = np.asarray(embed_images(one.images))
    scores = np.asarray(embed_texts([text.text for text in one.wholes])) @ images.T
    shares: dict[str, float] = {}
    for name, table in (("text", scores), ("image", scores.T)):
        ranks = (table > np.diag(table)[:, None]).sum(1)
        shares |= {f"{name} {first}": float((ranks < first).mean()) for first in (1, 5)}
    first = (np.asarray(embed_texts([text.text for text in one.parts])) @ images.T).argmax(1)
    true = np.array([[text.holds(scene) for scene in one.scenes] for text in one.parts])
    found = true[np.arange(len(true)), first].mean()
    return {**shares, "part 1": float(found), "part chance": float(true.mean())}


def examine(
    embed_texts: Embed, embed_images: Embed, times: int = 3, size: int = SIZE
) -> dict[str, dict[str, float]]:
    """Return the mean shares of each trial over `times` sets of `size` images."""
    means = {}
    for name in TRIALS:
        trials = (trial(name, size, seed) for seed in range(times))
        runs = [figures(one, embed_texts, embed_images) for one in trials]
        means[name] = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
    return means


def neighbours(embed_texts: Embed, embed_images: Embed, pairs: int = 200) -> dict[str, float]:
    """Return how often a caption is nearer to its image than to one that differs in one respect.

    By respect, 0-1, on the training renderer in the words of `data/retrieval.txt`; chance is half.
    """
    shares = {}
    for number, respect in enumerate(RESPECTS):
        rng = np.random.default_rng((SEED, 8, number))
        found: list[tuple[Scene, Scene]] = []
        while len(found) < pairs:
            scene = sample_scene(rng)
            if (other := differing(scene, respect, rng)) is not None:
                found.append((scene, other))
        texts = np.asarray(embed_texts([strange_whole(scene, rng).text for scene, _ in found]))
        own, others = (
            (texts * np.asarray(embed_images([render.draw(s, rng).image for s in scenes]))).sum(1)
            for scenes in zip(*found, strict=True)
        )
        shares[respect] = float((own > others).mean())
    return shares


def differing(scene: Scene, respect: str, rng: np.random.Generator) -> Scene | None:
    """Return the scene changed in one of `RESPECTS`, None where it cannot be.

    `number` takes one of several equal shapes away; `colours swapped` exchanges two colours.
    """
    if not scene.shapes:
        return None
    first, *rest = (scene.shapes[int(i)] for i in rng.permutation(len(scene.shapes)))
    used = {scene.background, *(shape.colour for shape in scene.shapes)}
    colour = pick(rng, [name for name in COLOURS if name not in used])
    if respect == "background":
        return replace(scene, background=colour) if scene.background else None
    changed = [first, *rest]
    if respect == "number" and scene.sorts()[first.colour, first.kind] > 1:
        changed = rest
    elif respect == "colour":
        changed = [replace(first, colour=colour), *rest]
    elif respect == "shape":
        kind = pick(rng, [name for name in SHAPES if name != first.kind])
        changed = [replace(first, kind=kind), *rest]
    elif respect == "colours swapped" and rest:
        second = replace(rest[0], colour=first.colour)
        changed = [replace(first, colour=rest[0].colour), second, *rest[1:]]
    other = replace(scene, shapes=tuple(changed))
    return other if other.sorts() != scene.sorts() else None
