"""Questions agree with their scene, and nothing but the scene decides the answer."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.tiny_llava import held_out, stranger
from recipes.tiny_llava.manners import spoken
from recipes.tiny_llava.places import PLACES, ask_relation
from recipes.tiny_llava.questions import ASKERS
from recipes.tiny_llava.wide.questions import ask_box, caption_shapes, read_box
from recipes.tiny_llava.words import PLURALS, SINGULARS, Question
from recipes.tiny_llava.world import COLOURS, SHAPES, Scene, sample_scene

seeds = st.integers(0, 2**32)
WORDS = {word: kind for kind in SHAPES for word in (*SINGULARS[kind], *PLURALS[kind])}


def named(text: str) -> tuple[list[str], list[str]]:
    """Colours and kinds that a question names."""
    words = re.sub(r"plus signs?", "cross", text.lower())
    found = re.findall(r"[a-z]+", words)
    return [w for w in found if w in COLOURS], [WORDS[w] for w in found if w in WORDS]


def check(scene: Scene, question: Question) -> None:
    """Work the answer out again, from the words alone."""
    colours, kinds = named(question.text)
    colour = colours[0] if colours else None
    kind = kinds[0] if kinds else None
    if question.kind == "background":
        assert question.answer == scene.background
    elif question.kind == "colour":
        told = {s.colour for s in scene.shapes if kind is None or s.kind == kind}
        assert told == {question.answer}
    elif question.kind == "shape":
        told = {s.kind for s in scene.shapes if colour is None or s.colour == colour}
        assert told == {question.answer}
    elif question.kind.startswith("count"):
        assert question.answer == str(scene.count(colour, kind))
    elif question.kind == "exist":
        assert question.answer == ("yes" if scene.count(colour, kind) else "no")
    elif question.kind == "relation":
        check_relation(scene, question)
    elif question.kind == "position":
        [shape] = [one for one in scene.shapes if one.kind == kind]
        row, column = int(3 * shape.y / scene.height), int(3 * shape.x / scene.width)
        assert PLACES[min(row, 2)][min(column, 2)] == question.answer
    elif question.kind == "box":
        [shape] = [one for one in scene.shapes if (one.colour, one.kind) == (colour, kind)]
        left, top, right, bottom = read_box(question.answer) or (0, 0, 0, 0)
        assert left < shape.x < right
        assert top < shape.y < bottom
        assert right - left < 2.2 * shape.radius
    elif question.kind == "caption":
        listed, _, ground = question.answer.partition(" on ")
        listed_kinds = set(zip(*named(listed), strict=True))
        assert {(shape.colour, shape.kind) for shape in scene.shapes} == listed_kinds
        assert named(ground)[0] == [scene.background] * bool(ground)


def check_relation(scene: Scene, question: Question) -> None:
    """Find both shapes by their colours and kinds, in the words' order, and compare them."""
    asked = question.text.lower().replace("am i right", "").replace("is that right", "")
    words = re.findall(r"[a-z]+", re.sub(r"plus signs?", "cross", asked))
    at = [index for index, word in enumerate(words) if word in WORDS]
    shapes = []
    for index in at:
        colour = words[index - 1] if words[index - 1] in COLOURS else None
        [shape] = [
            one
            for one in scene.shapes
            if one.kind == WORDS[words[index]] and colour in (None, one.colour)
        ]
        shapes.append(shape)
    first, second = shapes
    along = first.x - second.x if {"left", "right"} & set(words) else first.y - second.y
    before = bool({"left", "above", "over", "higher", "top"} & set(words))
    holds = (along < 0) == before
    if question.answer in ("yes", "no"):
        assert question.answer == ("yes" if holds else "no")
    else:
        assert question.answer == (first if holds else second).kind


@given(seeds, st.sampled_from(sorted(ASKERS)))
@settings(max_examples=600, deadline=None)
def test_answers_agree_with_the_scene(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    scene = sample_scene(rng)
    question = ASKERS[kind][1](scene, rng)
    if question is not None:
        assert question.kind == kind
        assert "<" not in question.text
        assert "{" not in question.text
        check(scene, question)


def test_relations_lean_to_one_way_if_asked_to() -> None:
    rng = np.random.default_rng(0)
    leant: Counter[str] = Counter()
    while leant.total() < 400:
        scene = sample_scene(rng)
        if (question := ask_relation(scene, rng, leaning=1.0)) is not None:
            check(scene, question)
            assert {"left", "above", "over", "higher"} & set(question.text.split())
            leant[question.answer] += 1
    assert set(leant) == {"yes", "no"}
    assert 0.4 < leant["yes"] / leant.total() < 0.6


@given(seeds, st.sampled_from([*sorted(stranger.WORDS), "count both"]))
@settings(max_examples=300, deadline=None)
def test_a_strangers_answers_agree_too(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    scene, _ = held_out.paint(held_out.sample(rng), rng, side=96)
    question = stranger.ask(scene, kind, rng)
    if question is not None:
        check(scene, question)


def test_yes_and_no_are_even_in_every_phrasing() -> None:
    rng = np.random.default_rng(0)
    by_opening: dict[str, Counter[str]] = {}
    total: Counter[str] = Counter()
    for _ in range(6000):
        question = ASKERS["exist"][1](sample_scene(rng), rng)
        if question is None:
            continue
        opening = " ".join(question.text.split()[:2])
        by_opening.setdefault(opening, Counter())[question.answer] += 1
        total[question.answer] += 1
    assert 0.47 < total["yes"] / total.total() < 0.53
    for opening, answers in by_opening.items():
        if answers.total() > 250:
            assert 0.36 < answers["yes"] / answers.total() < 0.64, (opening, answers)


def plain(text: str) -> str:
    """A phrasing without case, punctuation and the names that fill its slots."""
    words = re.findall(r"[a-z']+", text.lower())
    names = {*COLOURS, *WORDS, "shapes", "objects", "figures"}
    return " ".join("_" if word in names else word for word in words)


@pytest.mark.parametrize("kind", sorted(stranger.WORDS))
def test_a_strangers_phrasings_are_never_trained_on(kind: str) -> None:
    slots = {"thing": "star", "things": "stars", "colour": "red", "a": "a star"}
    slots |= {"first": "star", "second": "cross", "side": "above"}
    theirs = {plain(words.format(**slots)) for words in stranger.WORDS[kind]}
    assert len(theirs) >= 6
    rng = np.random.default_rng(2)
    ours = set()
    askers = {name: ask for name, (_, ask) in ASKERS.items()}
    askers |= {"box": ask_box, "caption": caption_shapes}
    for name in (name for name in askers if name.split(" ")[0] == kind):
        for _ in range(6000):
            question = askers[name](sample_scene(rng), rng)
            if question is not None:
                ours |= {plain(question.text), plain(spoken(question, rng))}
    assert not theirs & ours


def test_hundreds_of_phrasings_a_kind() -> None:
    rng = np.random.default_rng(4)
    for kind in ("colour", "shape", "count", "exist", "background"):
        asked = (ASKERS[kind][1](sample_scene(rng), rng) for _ in range(4000))
        assert len({plain(question.text) for question in asked if question}) > 200, kind
