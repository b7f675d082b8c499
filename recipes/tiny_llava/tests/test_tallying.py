"""Guidance for counting and comparing: which patches a question is about, and the loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlavaForConditionalGeneration

from recipes.tiny_llava.architecture import new_model, tiny_config
from recipes.tiny_llava.conversations import Lesson, Writer, converse
from recipes.tiny_llava.hearing import hear
from recipes.tiny_llava.imagining import imagine
from recipes.tiny_llava.packing import IMAGE, Conversations, pack
from recipes.tiny_llava.patches import middles
from recipes.tiny_llava.tallying import HEADS, tally_loss
from recipes.tiny_llava.tests.attentions import attentions
from recipes.tiny_llava.wide.codes import where
from recipes.tiny_llava.wide.sample import sample_chart, sample_page, sample_writing
from recipes.tiny_llava.world import Scene, Shape

WIDTH = 192


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    return new_model(tiny_config(500, width=WIDTH, depth=2), seed=0)


def imagined(tokenizer: Tokenizer, wide: float) -> tuple[Conversations, torch.Tensor]:
    """Conversations about four pictures, and their features."""
    rng = np.random.default_rng(6)
    scenes, features = imagine(WIDTH, wide)(rng, 4, 0)
    lesson = Lesson(spatial=0.3)
    return pack([converse(scene, Writer(tokenizer), rng, 8, lesson) for scene in scenes]), features


def test_middles_are_counted_once_and_by_what_is_asked() -> None:
    red, blue = Shape("star", "red", 0.2, 0.3, 0.1), Shape("star", "blue", 0.5, 0.5, 0.1)
    scene = Scene((red, blue, Shape("cross", "red", 0.8, 0.8, 0.1)), "white")
    assert middles(scene, None, None).sum() == pytest.approx(3)
    assert middles(scene, "red", None).sum() == pytest.approx(2)
    assert middles(scene, "green", "star").sum() == 0
    alone = middles(scene, "red", "star").reshape(8, 8)
    assert alone[2, 1] == pytest.approx(1)
    between = middles(scene, "blue", "star").reshape(8, 8)
    assert between[3:5, 3:5].ravel() == pytest.approx([0.25] * 4)


def test_numbers_are_how_many_are_looked_at(tokenizer: Tokenizer) -> None:
    told, _ = imagined(tokenizer, wide=0.0)
    counted = 0
    for (row, asked, patch, which), share in zip(told.looks.tolist(), told.shares, strict=True):
        assert told.ids[row].tolist().index(IMAGE) == patch
        word = tokenizer.decode([int(told.ids[row, asked + 1])])
        if word.isdigit():
            assert which == 0
            assert share.sum().item() == pytest.approx(int(word), abs=1e-4)
            counted += 1
    assert counted > 5
    assert told.looks[:, 3].max() == 1  # what compares two is among the questions


def test_bars_and_lines_are_counted_and_what_stands_out_is_looked_at() -> None:
    rng = np.random.default_rng(8)
    for _ in range(12):
        chart, page = sample_chart(rng), sample_page(rng)
        bars, top = where(chart, "count bars"), where(chart, "tallest")
        assert bars is not None
        assert top is not None
        assert bars.sum() == pytest.approx(len(chart.bars), abs=1e-4)
        assert top.sum() == pytest.approx(1, abs=1e-4)
        assert (top <= bars + 1e-6).all()
        alone = where(chart, "bar's colour", chart.tallest)
        assert alone is not None
        assert (alone == top).all()
        lines, stamp = where(page, "count lines"), where(page, "stamp there")
        assert lines is not None
        assert stamp is not None
        assert lines.sum() == pytest.approx(len(page.strokes), abs=1e-4)
        assert stamp.sum() == pytest.approx(1.0 if page.stamp else 0.0, abs=1e-4)
        assert where(page, "title") is None
        assert where(sample_writing(rng), "count bars") is None


def test_what_is_read_is_not_looked_for_twice(
    tokenizer: Tokenizer, model: LlavaForConditionalGeneration
) -> None:
    told, features = imagined(tokenizer, wide=1.0)
    reading = {tuple(one) for one in told.reads[:, :2].tolist()}
    looking = {tuple(one) for one in told.looks[:, :2].tolist()}
    assert reading
    assert looking
    assert not reading & looking
    states = hear(model, told, features, states=True).hidden_states
    assert tally_loss(model, told, states).item() > 0


def test_nothing_to_look_at_costs_nothing(
    tokenizer: Tokenizer, model: LlavaForConditionalGeneration
) -> None:
    told, features = imagined(tokenizer, wide=1.0)
    told = replace(told, looks=told.looks[:0], shares=told.shares[:0])
    states = hear(model, told, features, states=True).hidden_states
    assert tally_loss(model, told, states).item() == 0


def test_the_loss_is_what_the_heads_look_elsewhere(
    tokenizer: Tokenizer, model: LlavaForConditionalGeneration
) -> None:
    told, features = imagined(tokenizer, wide=0.0)
    states = hear(model, told, features, states=True).hidden_states
    looks = attentions(model, told, features)[0]
    apart = []
    first = looks.shape[1] - HEADS
    for (row, asked, patch, which), share in zip(told.looks.tolist(), told.shares, strict=True):
        sought = torch.zeros(looks.shape[-1])
        sought[0], sought[patch : patch + 64] = 1.0, share
        sought = sought / sought.sum()
        found = looks[row, first + which, asked]
        there = sought > 0
        apart.append((sought[there] * (sought[there] / found[there]).log()).sum())
    assert tally_loss(model, told, states).item() == pytest.approx(
        torch.stack(apart).mean().item(), rel=1e-3
    )
