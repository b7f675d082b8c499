"""Guidance for calls: where tools and calls stand in tokens, and where heads should look."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlavaForConditionalGeneration

from llava_tools.core.constraints import ToolCall
from recipes.tiny_llava.architecture import new_model, tiny_config
from recipes.tiny_llava.choosing import CHOICE_HEAD, LINE_HEAD, LINE_LAYER, called, choosing_loss
from recipes.tiny_llava.conversations import Writer, lectures
from recipes.tiny_llava.hearing import hear
from recipes.tiny_llava.packing import Conversations, pack
from recipes.tiny_llava.tests.attentions import attentions

NOTHING_SEEN = torch.zeros(0, 64, 192)
TOOLS = (
    "Tools:\nfind_name(name_day: string, name?: string, day: integer): Find a name.\n"
    "  name: Its beginning.\nfind(q: string): Find.\nnow(): The time.\nAnswer with a tool call: "
)
CALLS = (
    ToolCall("1", "find_name", {"name": "day", "day": 3}),
    ToolCall("2", "now", {}),
    ToolCall("3", "find", {"q": 'name"now'}),
)
SAID = (
    '<tool_call>{"name": "find_name", "arguments": {"name": "day", "day": 3}}</tool_call>\n'
    '<tool_call>{"name": "now", "arguments": {}}</tool_call>\n'
    '<tool_call>{"name": "find", "arguments": {"q": "name\\"now"}}</tool_call>'
)


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    return new_model(tiny_config(500, width=192, depth=3), seed=0)


@pytest.fixture(scope="module")
def told(tokenizer: Tokenizer) -> Conversations:
    rng = np.random.default_rng(4)
    return pack([lectures(Writer(tokenizer), rng, 500) for _ in range(8)])


def test_tools_and_arguments_are_found(tokenizer: Tokenizer) -> None:
    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    before = encode(TOOLS)
    ids = before + encode(SAID)
    found = called(ids, len(before), CALLS, encode)
    lines = [tokenizer.decode(ids[first:end]) for first, end in found.lines]
    assert lines[0::2] == [
        "find_name(name_day: string, name?: string, day: integer): Find a name.\n"
        "  name: Its beginning.",
        "now(): The time.",
        "find(q: string): Find.",
    ]
    assert [line.partition('"')[0] for line in lines[1::2]] == ["find_name", "now", "find"]
    meant = [tokenizer.decode(ids[first : first + 6]) for _, first, _ in found.choices]
    starts = ("find_name", "name?:", "day: integer", "now()", "find(q", "q: string")
    for text, start in zip(meant, starts, strict=True):
        assert text.startswith(start[: len(text)]), meant
    for place, first, _ in found.choices:
        assert ids[place + 1] == ids[first]


def test_what_is_looked_for_begins_as_what_is_said(told: Conversations) -> None:
    assert len(told.choices) > 20
    for row, place, first, end in told.choices:
        assert told.ids[row, place + 1] == told.ids[row, first]
        assert told.allowed[row, 0, place, first:end].all()
    assert len(set(told.lines)) == len(told.lines)


def test_the_loss_is_what_the_heads_look_elsewhere(
    model: LlavaForConditionalGeneration, told: Conversations
) -> None:
    states = hear(model, told, NOTHING_SEEN, states=True).hidden_states
    looks = attentions(model, told, NOTHING_SEEN)
    heads = looks[0].shape[1]
    early, last = looks[LINE_LAYER][:, min(LINE_HEAD, heads - 1)], looks[-1][:, CHOICE_HEAD]
    back = [
        -early[row, place, first].log()
        for row, first, end in told.lines
        for place in range(first + 1, end)
    ]
    chosen = [-last[row, place, first:end].sum().log() for row, place, first, end in told.choices]
    expected = torch.stack(back).mean() + torch.stack(chosen).mean()
    assert choosing_loss(model, told, states).item() == pytest.approx(expected.item(), rel=1e-3)


def test_nothing_called_costs_nothing(
    model: LlavaForConditionalGeneration, told: Conversations
) -> None:
    states = hear(model, told, NOTHING_SEEN, states=True).hidden_states
    assert choosing_loss(model, replace(told, lines=(), choices=()), states).item() == 0
