"""Writing, charts and pages: what is drawn, what patches say, and what is asked agree."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from llava_tools.chat.formats import SYSTEM
from recipes.tiny_llava.conversations import Writer
from recipes.tiny_llava.draw import draw, square
from recipes.tiny_llava.patches import ATTRIBUTES, WIDE, wide_meaning
from recipes.tiny_llava.sights import Sight, ask_sight, draw_sight, drawn_meaning, sample_sight
from recipes.tiny_llava.wide import stranger
from recipes.tiny_llava.wide.codes import GLYPHS, glyph_labels
from recipes.tiny_llava.wide.fonts import HELD_OUT, TRAINED, font
from recipes.tiny_llava.wide.questions import (
    KINDS,
    ask_bar_colour,
    ask_box,
    overlap,
    read_box,
    written_box,
)
from recipes.tiny_llava.wide.sample import sample_chart, sample_crowd, sample_page, sample_writing
from recipes.tiny_llava.wide.strings import LISTED, held_back, letters
from recipes.tiny_llava.wide.things import MOST_GLYPHS, Chart, Page, Writing
from recipes.tiny_llava.world import Scene, Shape

seeds = st.integers(0, 2**32)


@given(seeds)
@settings(max_examples=100, deadline=None)
def test_everything_lies_on_the_canvas(seed: int) -> None:
    sight = sample_sight(np.random.default_rng(seed), wide=1.0)
    assert not isinstance(sight, Scene)
    for line in sight.lines:
        assert 0 < len(line.text) <= 10
        assert set(line.text.lower()) <= set(GLYPHS)
        assert line.x - line.width / 2 >= -0.03
        assert line.x + line.width / 2 <= sight.width + 0.03
        assert line.y - line.height / 2 > 0
        assert line.y + line.height / 2 <= sight.height
        assert line.colour != sight.background


@given(seeds)
@settings(max_examples=100, deadline=None)
def test_one_bar_stands_out_at_each_end(seed: int) -> None:
    chart = sample_chart(np.random.default_rng(seed))
    heights = sorted(bar.height for bar in chart.bars)
    assert 2 <= len(heights) <= 6
    assert heights[-1] - heights[-2] > 0.02
    assert heights[1] - heights[0] > 0.02
    assert heights[-1] - heights[-2] > 0.049 * heights[-1]
    assert heights[1] - heights[0] > 0.049 * heights[-1]


@pytest.mark.parametrize("seed", range(6))
def test_patches_spell_what_is_written(seed: int) -> None:
    """Read the patches of a drawing in the order that they say, and get the text back."""
    rng = np.random.default_rng(seed)
    writing = sample_writing(rng)
    said, cover = drawn_meaning(draw_sight(writing, rng))
    found: dict[int, tuple[float, str]] = {}
    for patch, slot in np.ndindex(64, 3):
        for index in range(10):
            number = said[patch, ATTRIBUTES.index(f"number {index} in slot {slot}")]
            if number > found.get(index, (0.05, ""))[0]:
                at = ATTRIBUTES.index(f"glyph a in slot {slot}")
                capital = said[patch, ATTRIBUTES.index(f"capital in slot {slot}")] > number / 2
                glyph = GLYPHS[int(said[patch, at : at + len(GLYPHS)].argmax())]
                found[index] = number, glyph.upper() if capital else glyph
    text = "".join(found[index][1] for index in sorted(found))
    assert text == writing.line.text
    assert not cover.shapes.any()
    labels, order = glyph_labels(said[:, WIDE:])
    assert ((order >= 0) == (labels > 0)).all()


def test_patches_know_the_tallest_bar() -> None:
    chart = sample_chart(np.random.default_rng(4))
    said = wide_meaning(chart)
    assert said[:, ATTRIBUTES.index("bar's end")].sum() == pytest.approx(len(chart.bars))
    tallest = said[:, ATTRIBUTES.index("tallest")] > 0.9
    assert (said[tallest][:, ATTRIBUTES.index(chart.tallest.colour)] > 0.4).any()
    assert not (tallest & (said[:, ATTRIBUTES.index("shortest")] > 0.9)).any()


@given(st.integers(0, 10**9))
@settings(max_examples=100, deadline=None)
def test_a_crowd_fills_its_picture_with_characters_of_one_size(seed: int) -> None:
    crowd = sample_crowd(np.random.default_rng(seed))
    assert len({line.height for line in crowd.lines}) == 1
    tall = crowd.line.height
    for line in crowd.lines:
        assert 1 <= len(line.text) <= MOST_GLYPHS
        assert line.x - line.width / 2 >= 0
        assert line.x + line.width / 2 <= crowd.width
        assert tall / 2 <= line.y <= crowd.height - tall / 2
    assert sum(line.width for line in crowd.lines if line.y == crowd.line.y) > crowd.width / 3


@given(seeds)
@settings(max_examples=300, deadline=None)
def test_answers_agree_with_the_sight(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sight = sample_sight(rng, wide=1.0)
    question = ask_sight(sight, rng)
    assert question.kind in (*KINDS, "background")
    assert not set("<>{}") & set(question.text)
    if isinstance(sight, Writing) and question.kind in ("number", "word", "letters"):
        assert question.answer == sight.line.text
    if isinstance(sight, Chart) and question.kind == "shortest":
        least = min(sight.bars, key=lambda bar: bar.height)
        asks_hue = re.search("colou?r", question.text)
        label = None if asks_hue else least.label
        assert question.answer == (label.text if label else least.colour)
    if isinstance(sight, Page) and question.kind == "count lines":
        assert question.answer == str(len(sight.strokes))


def test_boxes_are_those_of_the_drawing() -> None:
    scene = Scene((Shape("square", "red", 0.4, 0.3, 0.2),), "white", 1.0, 0.6)
    drawing = draw(scene, np.random.default_rng(0), plain=True)
    question = ask_box(drawing.scene, np.random.default_rng(1))
    assert question is not None
    box = read_box(question.answer)
    assert box is not None
    pixels = np.asarray(square(drawing.image)).astype(int)
    ys, xs = np.nonzero((pixels[..., 0] > 120) & (pixels[..., 1] < 90))
    seen = xs.min() / 112, ys.min() / 112, (xs.max() + 1) / 112, (ys.max() + 1) / 112
    assert overlap(box, seen) > 0.85
    assert written_box((0.1, 0.2, 0.345, 1.2)) == "[0.10, 0.20, 0.34, 1.00]"
    assert overlap(box, (0.0, 0.0, 0.01, 0.01)) == 0.0


def test_letters_are_held_back() -> None:
    rng = np.random.default_rng(0)
    assert not any(held_back(letters(rng)) for _ in range(300))
    assert all(held_back(letters(rng, fresh=True)) for _ in range(50))
    assert len(LISTED) >= 200


def test_no_font_is_both_trained_and_held_out() -> None:
    assert not set(TRAINED) & set(HELD_OUT)
    assert all(font(name, 20).getlength("A4") > 5 for name in {*TRAINED, *HELD_OUT})


def test_what_is_read_is_spelled_letter_by_letter() -> None:
    tokenizer = Tokenizer.from_file("llava_tools/tiny/tokenizer.json")
    turns = [("What does it say?", "thing"), ("And what colour is it?", "red")]
    branch = Writer(tokenizer).branch(turns, SYSTEM, ["word", "colour"])
    said = [one for one, told in zip(branch.ids, branch.said, strict=True) if told]
    words = [tokenizer.decode([one], skip_special_tokens=False) for one in said]
    assert words == [" ", "t", "h", "i", "n", "g", "</s>", " ", "red", "</s>"]
    text = tokenizer.decode(branch.ids, skip_special_tokens=False)
    assert text.endswith("ASSISTANT: thing</s>USER: And what colour is it? ASSISTANT: red</s>")


def plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def asked(rng: np.random.Generator, count: int) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for _ in range(count):
        sight: Sight = sample_sight(rng, wide=0.85)
        question = ask_sight(sight, rng, more=1.0)
        found.setdefault(question.kind, set()).add(plain(question.text))
    return found


def test_a_bar_is_named_whose_colour_is_asked_for() -> None:
    rng = np.random.default_rng(4)
    found = [ask_bar_colour(sample_chart(rng), rng) for _ in range(60)]
    named = [question for question in found if question is not None]
    assert len(named) > 10
    for question in named:
        assert question.bar is not None
        assert question.bar.label is not None
        assert question.answer == question.bar.colour
        assert re.search(rf"\b{question.bar.label.text}\b", question.text)


def test_hundreds_of_phrasings_and_none_of_a_strangers() -> None:
    ours = asked(np.random.default_rng(1), 12_000)
    many = {"number", "word", "letters", "tallest", "shortest", "title", "total", "box", "caption"}
    for kind in many:
        assert len(ours[kind]) > 200, kind
    for kind, texts in stranger.WORDS.items():
        assert not {plain(text.format(label="A")) for text in texts} & ours[kind]


@pytest.mark.parametrize("kind", stranger.KINDS)
def test_a_stranger_draws_and_asks(kind: str) -> None:
    rng = np.random.default_rng(3)
    found = [one for one in (stranger.item(kind, rng) for _ in range(12)) if one is not None]
    assert len({question.answer for question, _ in found}) >= (2 if kind == "stamp there" else 3)
    assert not any("{" in question.text for question, _ in found)
    assert all(picture.mode == "RGB" for _, picture in found)
    assert sample_page(rng).strokes
