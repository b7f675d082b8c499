"""Captions are true of their scenes, and say so of others; evaluation has words of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from recipes.tiny_llava import captions, retrieve
from recipes.tiny_llava.captions import Caption, Claim, alter, caption, part, whole
from recipes.tiny_llava.twin import also_true
from recipes.tiny_llava.world import Scene, Shape, sample_scene

SCENE = Scene(
    (
        Shape("circle", "red", 0.2, 0.2, 0.1),
        Shape("star", "blue", 0.5, 0.5, 0.1),
        Shape("star", "blue", 0.8, 0.8, 0.1),
    ),
    "green",
)


def test_captions_are_true_of_their_scenes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        scene = sample_scene(rng)
        told = caption(scene, rng)
        assert told.text.strip()
        assert told.holds(scene)


def test_whole_captions_are_false_of_other_scenes() -> None:
    rng = np.random.default_rng(1)
    told_apart = 0
    for _ in range(300):
        scene = sample_scene(rng)
        if not scene.shapes:
            continue
        other = alter(scene, rng)
        alike = all(
            scene.count(shape.colour, shape.kind) == other.count(shape.colour, shape.kind)
            for shape in (*scene.shapes, *other.shapes)
        )
        told = whole(replace(scene, background=None), rng)
        assert told.holds(other) == alike
        told_apart += not alike
    assert told_apart > 150


def test_claims_are_what_words_say() -> None:
    told = Caption("two blue stars on green", (Claim("blue", "star", 2, 2),), "green")
    assert told.holds(SCENE)
    assert not told.holds(replace(SCENE, background="white"))
    assert not told.holds(replace(SCENE, shapes=SCENE.shapes[:2]))
    assert Caption("a star", (Claim(None, "star", 1, 99),)).holds(SCENE)


def test_all_pairs_at_once_are_as_one_by_one() -> None:
    rng = np.random.default_rng(2)
    scenes = [sample_scene(rng) for _ in range(40)]
    told = [(part if index % 2 else caption)(s, rng) for index, s in enumerate(scenes) if s.shapes]
    true = also_true(told, scenes)
    assert true.tolist() == [[one.holds(scene) for scene in scenes] for one in told]
    assert 0.02 < true.mean() < 0.6


def test_the_same_seed_says_the_same() -> None:
    def say() -> list[str]:
        rng = np.random.default_rng(3)
        return [caption(sample_scene(rng), rng).text for _ in range(30)]

    assert say() == say()
    assert len(set(say())) == 30


@pytest.mark.parametrize("frame", [*retrieve.WHOLE, *retrieve.WHOLE_BARE, *retrieve.PART])
def test_the_strangers_frames_are_never_trained_on(frame: str) -> None:
    rng = np.random.default_rng(4)
    pieces = [piece.strip(" .,;?").lower() for piece in frame.replace("}", "{").split("{")[::2]]
    longest = max(pieces, key=len)
    for _ in range(300):
        assert longest not in caption(SCENE, rng).text.lower()
    assert len(longest.split()) > 1


def test_trials_hold_different_scenes_and_true_captions() -> None:
    for name in ("own", "words", "stranger"):
        one = retrieve.trial(name, size=12)
        shown = {tuple(sorted((s.colour, s.kind) for s in scene.shapes)) for scene in one.scenes}
        assert len(shown) == len(one.images) == 12
        for told, asked, scene in zip(one.wholes, one.parts, one.scenes, strict=True):
            assert told.holds(scene)
            assert asked.holds(scene)
        again = retrieve.trial(name, size=12)
        assert [c.text for c in again.wholes] == [c.text for c in one.wholes]


def test_figures_of_perfect_and_of_blind_vectors() -> None:
    one = retrieve.trial("stranger", size=30)

    def perfect(things: Sequence[object]) -> retrieve.Vectors:
        return np.eye(len(things), dtype=np.float32)

    told = retrieve.figures(one, perfect, perfect)
    assert told["text 1"] == told["picture 5"] == told["part 1"] == 1
    assert 0 < told["part chance"] < 0.4
    blind = retrieve.figures(one, perfect, lambda shown: perfect(shown)[::-1])
    assert blind["text 1"] == blind["picture 1"] == 0
    shown = retrieve.table({"stranger": told, "blind": blind}, 40)
    assert "| chance | 2.5 | 12.5 | 2.5 | 12.5 |" in shown


def test_neighbours_differ_in_one_respect() -> None:
    rng = np.random.default_rng(7)

    def changed(respect: str) -> Scene:
        while (other := retrieve.differing(SCENE, respect, rng)) is None:
            pass
        return other

    assert changed("background").shapes
    assert changed("background").background not in ("green", "red", "blue")
    assert changed("number").count("blue", "star") == 1
    assert changed("colours swapped").count("blue", "circle") == 1
    assert changed("colours swapped").count("red", "star") == 1
    assert sum(changed("colour").count(colour=c) for c in ("red", "blue")) == 2
    assert changed("shape").count("red") == 1
    lone = replace(SCENE, shapes=SCENE.shapes[:1], background=None)
    for respect in ("background", "number", "colours swapped"):
        assert retrieve.differing(lone, respect, rng) is None


def test_numbers_are_words_or_digits() -> None:
    rng = np.random.default_rng(6)
    said = {captions._number(rng, 2, "red star", "red stars") for _ in range(200)}
    assert {"two red stars", "2 red stars", "a pair of red stars"} <= said
