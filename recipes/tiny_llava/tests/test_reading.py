"""Guidance for reading: where the next character stands, and the loss that points there."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from recipes.tiny_llava.architecture import new_model, tiny_config
from recipes.tiny_llava.conversations import Lesson, Writer, converse
from recipes.tiny_llava.hearing import hear
from recipes.tiny_llava.imagining import imagine
from recipes.tiny_llava.packing import IMAGE, Conversations, pack
from recipes.tiny_llava.patches import WIDE
from recipes.tiny_llava.reading import (
    counting_loss,
    ground_reading,
    naming_loss,
    numbers,
    reading_loss,
)
from recipes.tiny_llava.sights import sight_meaning
from recipes.tiny_llava.tests.attentions import attentions
from recipes.tiny_llava.wide.codes import EDGE, GLYPHS, INDEX, KNOTS, SLOTS
from recipes.tiny_llava.wide.questions import read_box
from recipes.tiny_llava.wide.things import MOST_GLYPHS
from recipes.tiny_llava.world import Scene

WIDTH = 192
FIRST = 2 * WIDTH // 64 - SLOTS
"""The first of the heads that read."""


def imagined(
    tokenizer: Tokenizer, wide: float, more: float = 0.0
) -> tuple[list[object], Conversations, torch.Tensor]:
    """Four pictures, conversations about them, and their features."""
    rng = np.random.default_rng(4)
    scenes, features = imagine(WIDTH, wide)(rng, 4, 0)
    rows = [converse(scene, Writer(tokenizer), rng, 6, Lesson(more=more)) for scene in scenes]
    return list(scenes), pack(rows), features


def test_characters_stand_where_the_patches_say_them(tokenizer: Tokenizer) -> None:
    scenes, told, _ = imagined(tokenizer, wide=1.0)
    assert len(told.reads) > 20
    for row, place, patch, slot in told.reads.tolist():
        scene = scenes[row]
        assert not isinstance(scene, Scene)
        said = sight_meaning(scene)[patch - told.ids[row].tolist().index(IMAGE), WIDE:]
        letter = tokenizer.decode([int(told.ids[row, place + 1])])
        step = len(GLYPHS) + 1
        # On a corner of four slots each has a quarter; nothing else in this one is said louder.
        glyphs = said[slot * step : slot * step + len(GLYPHS)]
        assert glyphs.argmax() == GLYPHS.index(letter.lower())
        assert glyphs.max() >= 0.249
        numbers = said[INDEX:].reshape(-1)[: SLOTS * MOST_GLYPHS].reshape(SLOTS, MOST_GLYPHS)
        assert numbers[slot].max() >= 0.249


def test_the_loss_is_what_the_heads_look_away(tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)
    model = new_model(tiny_config(500, width=WIDTH, depth=2), seed=0)
    _, told, features = imagined(tokenizer, wide=1.0)
    states = hear(model, told, features, states=True).hidden_states
    looks = attentions(model, told, features)[-1]
    away = [
        -looks[row, FIRST + head, place, patch if head == slot else 0].log()
        for row, place, patch, slot in told.reads.tolist()
        for head in range(SLOTS)
    ]
    assert reading_loss(model, told, states).item() == pytest.approx(
        torch.stack(away).mean().item(), rel=1e-4
    )


def test_a_look_at_the_right_place_says_the_character(tokenizer: Tokenizer) -> None:
    """The last layer, its attention replaced by a look where the character stands."""
    torch.manual_seed(0)
    model = new_model(tiny_config(500, width=WIDTH, depth=2), seed=0)
    _, told, features = imagined(tokenizer, wide=1.0)
    given = hear(model, told, features, states=True).hidden_states[-1]
    block = model.model.language_model.layers[-1]
    losses = []
    for row, place, patch, slot in told.reads.tolist():
        seen = block.self_attn.v_proj(block.input_layernorm(given[row, patch]))
        size = block.self_attn.head_dim
        part = slice((FIRST + slot) * size, (FIRST + slot + 1) * size)
        state = given[row, place] + block.self_attn.o_proj.weight[:, part] @ seen[part]
        state = state + block.mlp(block.post_attention_layernorm(state))
        logits = model.lm_head(model.model.language_model.norm(state))
        losses.append(-logits.log_softmax(-1)[told.labels[row, place + 1]])
    expected = torch.stack(losses).mean()
    assert naming_loss(model, told, given).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.slow
def test_what_stands_there_is_brought_and_said(tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)
    model = new_model(tiny_config(500, width=WIDTH, depth=2), seed=0)
    _, told, features = imagined(tokenizer, wide=1.0)
    given = hear(model, told, features, states=True).hidden_states[-1].detach()
    before = naming_loss(model, told, given).item()
    assert ground_reading(model, [(told, features)], steps=150) < 0.2
    assert naming_loss(model, told, given).item() < 0.2 < before


def test_states_count_what_was_said(tokenizer: Tokenizer) -> None:
    model = new_model(tiny_config(500, width=WIDTH, depth=2), seed=0)
    _, told, _ = imagined(tokenizer, wide=0.3, more=1.0)
    directions = numbers(WIDTH)
    given = torch.zeros(*told.ids.shape, WIDTH)
    assert counting_loss(model, told, given).item() == pytest.approx(np.log(len(directions)))
    for row, first, length, kind in told.answers:
        for said in range(min(length - 1, len(directions) if kind == "box" else MOST_GLYPHS)):
            given[row, first + said] = directions[said]
    assert counting_loss(model, told, given).item() < 1e-3


def test_boxes_are_read_off_the_middles_of_shapes(tokenizer: Tokenizer) -> None:
    scenes, told, _ = imagined(tokenizer, wide=0.0, more=1.0)
    boxes = [answer for answer in told.answers if answer[3] == "box"]
    assert boxes
    for row, first, length, _ in boxes:
        text = tokenizer.decode(told.ids[row, first : first + length - 1].tolist())
        start = told.ids[row].tolist().index(IMAGE)
        here = told.reads[(told.reads[:, 0] == row) & told.reads[:, 1].ge(first)]
        here = here[here[:, 1] < first + length]
        assert len(here) == len(text) - 1  # all but the space
        patch = int(here[0, 2])
        assert here[:, 2:].unique(dim=0).tolist() == [[patch, 0]]
        scene = scenes[row]
        assert isinstance(scene, Scene)
        said = sight_meaning(scene)[patch - start, WIDE + EDGE :].reshape(4, KNOTS)
        assert said.sum(axis=1) == pytest.approx(1, abs=1e-5)
        places = said @ np.linspace(0, 1, KNOTS)
        assert np.allclose(places, read_box(text), atol=0.006)


def test_nothing_is_read_off_shapes(tokenizer: Tokenizer) -> None:
    model = new_model(tiny_config(500, width=WIDTH, depth=1), seed=0)
    _, told, features = imagined(tokenizer, wide=0.0)
    assert len(told.reads) == 0
    states = hear(model, told, features, states=True).hidden_states
    assert reading_loss(model, told, states).item() == 0
    assert naming_loss(model, told, states[-1]).item() == 0
