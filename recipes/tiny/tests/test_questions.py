"""Answers agree with their picture: they are worked out again from the words alone."""

import re
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.tiny import sample
from recipes.tiny.questions import KINDS, PLACES, ask, overlap, read_box, spoken, written_box
from recipes.tiny.things import COLOURS, SHAPES, Chart, Page, Picture, Scene, Shape, Writing
from recipes.tiny.words import PLURALS, SINGULARS, load, phrase

seeds = st.integers(0, 2**32)
WORDS = {word: kind for kind in SHAPES for word in (*SINGULARS[kind], *PLURALS[kind])}


def named(text: str) -> tuple[list[str], list[str]]:
    """Return the colours and the kinds of shapes that a text names."""
    found = re.findall(r"[a-z]+", re.sub(r"plus signs?", "cross", text.lower()))
    return [w for w in found if w in COLOURS], [WORDS[w] for w in found if w in WORDS]


def fitting(scene: Scene, text: str) -> list[Shape]:
    """Return the shapes that a text names, by colour and kind, one of them or neither."""
    colours, kinds = named(text)
    return [
        s for s in scene.shapes if s.colour in (colours or COLOURS) and s.kind in (kinds or SHAPES)
    ]


def answers_about_shapes(scene: Scene, kind: str, text: str) -> set[str]:
    """Return all right answers; the question is unambiguous if there is a single one."""
    fits = fitting(scene, text)
    if kind == "colour":  # the words may offer two colours, and two kinds for a shape
        return {s.colour for s in scene.shapes if s.kind in (named(text)[1] or SHAPES)}
    if kind == "shape":
        return {s.kind for s in scene.shapes if s.colour in (named(text)[0] or COLOURS)}
    if kind == "position":
        spots = [(int(3 * s.y / scene.height), int(3 * s.x / scene.width)) for s in fits]
        return {PLACES[min(row, 2)][min(column, 2)] for row, column in spots}
    return {"yes" if fits else "no"} if kind == "exist" else {str(len(fits))}


def answer_about_two(scene: Scene, text: str) -> str:
    """Work out how the two shapes lie to each other that a question names."""
    text = re.sub(r"plus signs?", "cross", text)
    pattern = rf"(?:({'|'.join(COLOURS)}) )?\b({'|'.join(WORDS)})\b"
    pairs = [(colour or None, WORDS[word]) for colour, word in re.findall(pattern, text)]
    first, second = (
        next(s for s in scene.shapes if s.colour == (colour or s.colour) and s.kind == kind)
        for colour, kind in pairs
    )
    axis = "x" if re.search("left|right", text) else "y"
    before = getattr(first, axis) < getattr(second, axis)
    holds = before == bool(re.search("left|above|over|higher|top", text))
    if "which" in text or text.startswith("what"):
        return first.kind if holds else second.kind
    return "yes" if holds else "no"


def answer_about_wide(picture: Writing | Chart | Page, kind: str, text: str) -> str | None:
    """Work out the answer about writing, a chart or a page."""
    if isinstance(picture, Writing):
        return picture.lines[0].text
    if kind == "title":
        return picture.title.text if picture.title else None
    if isinstance(picture, Page):
        stamp, line = picture.stamp, picture.stamp.line if picture.stamp else None
        answers = {
            "total": picture.total.text,
            "count lines": str(len(picture.strokes)),
            "stamp there": "yes" if stamp else "no",
            "stamp": stamp.colour if stamp else None,
            "stamp's word": line.text if line else None,
        }
        return answers[kind]
    if kind == "count bars":
        return str(len(picture.bars))
    order = sorted(picture.bars, key=lambda bar: bar.height)
    if kind == "bar's colour":
        [hue] = [b.colour for b in order if b.label and re.search(rf"\b{b.label.text}\b", text)]
        return hue
    bar = order[0 if kind == "shortest" else -1]
    return bar.label.text if bar.label and not re.search("colou?r", text) else bar.colour


def check(picture: Picture, kind: str, rng: np.random.Generator) -> None:
    """Check the answer of a question of this kind, if there is one to ask."""
    if (question := ask(picture, rng, kind)) is None:
        return
    text, answer = question.text, question.answer
    if kind == "background":
        assert answer == picture.background
    elif kind == "caption":
        assert not isinstance(picture, Scene) or {s.kind for s in picture.shapes} == set(
            named(answer)[1]
        )
    elif not isinstance(picture, Scene):
        assert answer == answer_about_wide(picture, kind, text)
    elif kind == "relation":
        assert answer == answer_about_two(picture, text)
    elif kind == "box":
        left, top, right, bottom = read_box(answer) or (0, 0, 0, 0)
        assert overlap(question.box or (0, 0, 0, 0), (left, top, right, bottom)) > 0.8
        [(x, y)] = [picture.padded(shape) for shape in fitting(picture, text)]
        assert left < x < right
        assert top < y < bottom
    else:
        assert {answer} == answers_about_shapes(picture, kind, text), text


@settings(max_examples=150, deadline=None)
@given(seeds)
def test_answers_follow_from_the_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = sample.sample(rng)
    for kind in KINDS:
        check(picture, kind, rng)
    question = ask(picture, rng)
    assert question is not None
    assert question.kind in KINDS


def test_every_kind_is_asked_and_yes_is_as_frequent_as_no() -> None:
    rng = np.random.default_rng(0)
    asked = [ask(sample.sample(rng), rng) for _ in range(4000)]
    assert {question.kind for question in asked if question} == set(KINDS)
    pages = [ask(sample.sample_page(rng), rng, "stamp there") for _ in range(800)]
    for kind, questions in {"exist": asked, "stamp there": pages}.items():
        answers = Counter(found.answer for found in questions if found and found.kind == kind)
        assert 0.7 < answers["yes"] / answers["no"] < 1.4


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_spoken_keeps_the_words_in_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    if (question := ask(sample.sample_scene(rng), rng)) is None:
        return
    said = re.findall(r"[a-z]+", spoken(question, rng).lower())
    for word in re.findall(r"[a-z]+", question.text):
        if word not in ("the", "is", "are", "do", "of"):
            assert word in said
            del said[: said.index(word)]


def test_templates_resolve_completely() -> None:
    rng = np.random.default_rng(0)
    for key, templates in load("phrasings").items():
        slots = {slot: "slot" for text in templates for slot in re.findall(r"<(\w+)>", text)}
        for template in templates:
            assert template.count("{") == template.count("}"), (key, template)
            assert not re.search(r"[{}|$<>]", phrase(rng, (template,), slots)), (key, template)


def test_boxes_are_read_as_written() -> None:
    box = (0.1, 0.25, 0.5, 0.75)
    assert written_box(box) == "[0.10, 0.25, 0.50, 0.75]"
    assert read_box(written_box(box)) == box
    assert overlap(box, (0.6, 0.6, 0.9, 0.9)) == 0
    assert read_box("top left") is None
