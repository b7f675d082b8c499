"""Answers and captions agree with their picture: they are worked out again from the words alone."""

import re
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.tiny_llava import sample
from recipes.tiny_llava.captions import Caption, Claim, caption, describe
from recipes.tiny_llava.questions import (
    KINDS,
    PLACES,
    Question,
    ask,
    overlap,
    read_box,
    spoken,
    written_box,
)
from recipes.tiny_llava.things import COLOURS, SHAPES, Chart, Page, Picture, Scene, Shape, Writing
from recipes.tiny_llava.words import PLURALS, SINGULARS, load, phrase

seeds = st.integers(0, 2**32)
WORDS = {word: kind for kind in SHAPES for word in (*SINGULARS[kind], *PLURALS[kind])}


def named(text: str) -> tuple[list[str], list[str]]:
    """Return the colours and the kinds of shapes that a text names."""
    found = re.findall(r"[a-z]+", re.sub(r"plus signs?", "cross", text.lower()))
    return [w for w in found if w in COLOURS], [WORDS[w] for w in found if w in WORDS]


def fitting(scene: Scene, kind: str, text: str) -> list[Shape]:
    """Return the shapes that a question means; what it asks for is no condition."""
    colours, kinds = named(text)
    hues = COLOURS if kind == "colour" else colours or COLOURS
    sorts = SHAPES if kind == "shape" else kinds or SHAPES
    return [shape for shape in scene.shapes if shape.colour in hues and shape.kind in sorts]


def answers_about_shapes(scene: Scene, kind: str, text: str) -> set[str]:
    """Return all right answers; the question is unambiguous if there is a single one."""
    fits = fitting(scene, kind, text)
    if kind in ("colour", "shape"):
        return {shape.colour if kind == "colour" else shape.kind for shape in fits}
    if kind == "position":
        spots = [(3 * shape.y / scene.height, 3 * shape.x / scene.width) for shape in fits]
        return {PLACES[min(int(row), 2)][min(int(column), 2)] for row, column in spots}
    if kind != "relation":
        return {"yes" if fits else "no"} if kind == "exist" else {str(len(fits))}
    text = re.sub(r"plus signs?", "cross", text)
    pairs = re.findall(rf"(?:({'|'.join(COLOURS)}) )?\b({'|'.join(WORDS)})\b", text)
    one, two = (fitting(scene, kind, " ".join(pair))[0] for pair in pairs)
    before = one.x < two.x if re.search("left|right", text) else one.y < two.y
    holds = before == bool(re.search("left|above|over|higher|top", text))
    which = "which" in text or text.startswith("what")
    return {(one if holds else two).kind if which else "yes" if holds else "no"}


def answers_about_wide(picture: Any, kind: str, text: str) -> set[str]:
    """Return all right answers about writing, a chart or a page."""
    if kind.startswith("count"):
        return {str(len(picture.bars if kind == "count bars" else picture.strokes))}
    if kind in ("stamp", "stamp there"):
        return {picture.stamp.colour if kind == "stamp" else "yes" if picture.stamp else "no"}
    if isinstance(picture, Writing | Page) or kind == "title":
        roles = (kind, "stamp") if kind == "stamp's word" else (kind, "writing")
        return {line.text for line in picture.lines if line.role in roles}
    bars = sorted(picture.bars, key=lambda bar: bar.height)
    if kind == "bar's colour":
        return {b.colour for b in bars if b.label and re.search(rf"\b{b.label.text}\b", text)}
    bar = bars[0 if kind == "shortest" else -1]
    return {bar.label.text if bar.label and not re.search("colou?r", text) else bar.colour}


def check(picture: Picture, question: Question) -> None:
    """Check the answer of a question."""
    kind, text, answer = question.kind, question.text, question.answer
    if kind == "background":
        assert answer == picture.background
    elif kind == "caption":
        shapes = picture.shapes if isinstance(picture, Scene) else ()
        assert {shape.kind for shape in shapes} <= set(named(answer)[1])
    elif not isinstance(picture, Scene):
        assert {answer} == answers_about_wide(picture, kind, text)
    elif box := question.box:
        [shape] = fitting(picture, kind, text)
        left, top = picture.offset
        assert box[0] < shape.x + left < box[2]
        assert box[1] < shape.y + top < box[3]
        assert overlap(box, read_box(answer) or (0, 0, 0, 0)) > 0.8
    else:
        assert {answer} == answers_about_shapes(picture, kind, text), text


@settings(max_examples=150, deadline=None)
@given(seeds)
def test_answers_follow_from_the_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = sample.sample(rng)
    for kind in KINDS:
        if question := ask(picture, rng, kind):
            check(picture, question)


def test_every_kind_is_asked_and_yes_is_as_frequent_as_no() -> None:
    rng = np.random.default_rng(0)
    drawn = [ask(sample.sample(rng), rng) for _ in range(4000)]
    assert {question.kind for question in drawn if question} == set(KINDS)
    pages = [ask(sample.sample_page(rng), rng, "stamp there") for _ in range(800)]
    for kind, questions in {"exist": drawn, "stamp there": pages}.items():
        answers = Counter(found.answer for found in questions if found and found.kind == kind)
        assert 0.7 < answers["yes"] / answers["no"] < 1.4


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_spoken_keeps_the_words_in_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    question = ask(sample.sample_scene(rng), rng)
    assert question is not None
    said = re.findall(r"[a-z]+", spoken(question, rng).lower())
    for word in re.findall(r"[a-z]+", question.text):
        if word not in ("the", "is", "are", "do", "of"):
            del said[: said.index(word) + 1]


def test_templates_resolve_completely() -> None:
    rng = np.random.default_rng(0)
    for template in (template for lines in load("phrasings").values() for template in lines):
        slots = dict.fromkeys(re.findall(r"<(\w+)>", template), "slot")
        assert not re.search(r"[{}|$<>]", phrase(rng, (template,), slots)), template


def test_boxes_are_read_as_written() -> None:
    box = (0.1, 0.25, 0.5, 0.75)
    assert written_box(box) == "[0.10, 0.25, 0.50, 0.75]"
    assert read_box(written_box(box)) == box
    assert overlap(box, (0.6, 0.6, 0.9, 0.9)) == 0
    assert read_box("top left") is None


@given(seeds, st.sampled_from((0.0, 1.0)))
@settings(max_examples=60, deadline=None)
def test_captions_hold_and_descriptions_name_everything(seed: int, crowded: float) -> None:
    rng = np.random.default_rng(seed)
    scene = sample.sample_scene(rng, crowded)
    assert caption(scene, rng).holds(scene)
    text = describe(scene, rng)
    colours, kinds = named(text)
    shown = {shape.colour for shape in scene.shapes}
    assert shown <= set(colours) <= shown | {scene.background}
    assert {shape.kind for shape in scene.shapes} == set(kinds)
    assert len(kinds) == len(scene.shapes) or len(scene.shapes) > 8
    assert len(text.split()) < 60
    for other in (sample.sample_chart(rng), sample.sample_page(rng), sample.sample_writing(rng)):
        text = describe(other, rng)
        labels = () if isinstance(other, Chart) else ("label",)
        assert all(line.text in text for line in other.lines if line.role not in labels)


def test_claims_fail_for_changed_scenes() -> None:
    stars = tuple(Shape("star", "blue", x, x, 0.1) for x in (0.3, 0.7))
    caption = Caption("two blue stars on green", (Claim("blue", "star", 2, 2),), "green")
    assert caption.holds(Scene("green", shapes=stars))
    assert not caption.holds(Scene("white", shapes=stars))
    assert not caption.holds(Scene("green", shapes=stars[:1]))
    assert Caption("a star", (Claim(None, "star", 1, 99),)).holds(Scene("green", shapes=stars))
