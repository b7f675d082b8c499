"""Guidance for calls: heads look for the tool that is meant, and for its arguments' names.

Which tool is meant is told by all of its line among the tools, but what has to be said first is the
line's beginning, which knows nothing yet of the rest. So a head of an early layer looks back from
everywhere in the line to the name it begins with, and in a call to the name that is called; a head
of the last layer looks, before a name is said, anywhere into the right tool's line, and before an
argument's name, at that very name there. By answers alone, a model of this size soon copies names
well, and long takes them from any tool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from llava_tools.core.constraints import ToolCall

from .hearing import scores
from .packing import Conversations

LINE_LAYER, LINE_HEAD = 1, 4
"""Layer and head that look back to a line's or a call's tool."""
CHOICE_HEAD = 2
"""Head of the last layer that looks for what is meant."""

Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Called:
    """Where in a conversation's tokens calls and their tools stand.

    ``lines`` has (first, end) of every tool's line that is called and of every call, from the
    name's first token; ``choices`` has for each name that is said in a call (place of the token
    before, first and end of where it should be looked for).
    """

    lines: tuple[tuple[int, int], ...] = ()
    choices: tuple[tuple[int, int, int], ...] = ()


def called(ids: Sequence[int], said: int, calls: Sequence[ToolCall], encode: Encode) -> Called:
    """Find the calls that the assistant writes from place ``said`` on, and their tools before.

    What is not found, for a tokenizer that joins what stands apart here, is left out.
    """
    lines, choices, at = [], [], said
    opening = encode('{"name": "')
    for call in calls:
        here = find(ids, encode(f'{{"name": "{call.name}"'), at)
        line = _line(ids, call.name, said, encode)
        if here is None or line is None:
            continue
        at = here + len(opening)
        first = at
        choices.append((at - 1, *line))
        for key in call.arguments:
            place = find(ids, encode(f'"{key}": '), at)
            there = _key(ids[: line[1]], key, line[0], encode)
            if place is None or there is None:
                continue
            choices.append((place, there, there + 1))
            at = place + 1
        end = find(ids, encode("</tool_call>"), at)
        lines += [line, (first, end if end is not None else at)]
    return Called(tuple(lines), tuple(choices))


def _line(ids: Sequence[int], name: str, before: int, encode: Encode) -> tuple[int, int] | None:
    """First and end of a tool's line; indented lines after it belong to it."""
    at = _first(ids[:before], [encode(f"\n{name}{opening}") for opening in ("(", "()")], 0)
    if at is None:
        return None
    line_break, indent = encode("\n ")
    end = at + 1
    while end < before and not (ids[end] == line_break and ids[end + 1] != indent):
        end += 1
    return at + 1, end


def _key(ids: Sequence[int], key: str, start: int, encode: Encode) -> int | None:
    """Where a tool's line first has an argument's name, as a name of its own."""
    around = [(opening, closing) for opening in ("(", " ") for closing in (":", "?:")]
    at = _first(ids, [encode(f"{opening}{key}{closing}") for opening, closing in around], start)
    return None if at is None else at + 1


def _first(ids: Sequence[int], sought: Sequence[Sequence[int]], start: int) -> int | None:
    """Where any of ``sought`` stands first from ``start`` on."""
    found = [at for one in sought if (at := find(ids, one, start)) is not None]
    return min(found, default=None)


def find(ids: Sequence[int], sought: Sequence[int], start: int) -> int | None:
    """Where ``sought`` stands first from ``start`` on."""
    many = len(sought)
    for at in range(start, len(ids) - many + 1):
        if list(ids[at : at + many]) == list(sought):
            return at
    return None


def choosing_loss(model: LlavaForConditionalGeneration, told: Conversations, states: Any) -> Tensor:
    """How far both heads are from looking where they should, 0 where nothing is called.

    Args:
        model: The model.
        told: Packed conversations.
        states: Hidden states of the language model for them, before each of its layers.
    """
    inner = cast(Any, model).model.language_model
    if not told.choices:
        return torch.zeros(())
    turning = inner.rotary_emb(states[0], told.positions)
    last, heads = len(inner.layers) - 1, inner.config.num_attention_heads
    early = min(LINE_LAYER, last)
    back = scores(inner.layers[early], states[early], turning, (min(LINE_HEAD, heads - 1),))
    meant = scores(inner.layers[last], states[last], turning, (min(CHOICE_HEAD, heads - 1),))
    looked, chosen = [], []
    for row in dict.fromkeys(row for row, *_ in told.choices):
        seen = torch.where(told.allowed[row, 0], 0.0, -1e9)
        lines = [(first, end) for one, first, end in told.lines if one == row]
        asked = torch.cat([torch.arange(first + 1, end) for first, end in lines])
        sought = torch.cat([torch.full((end - first - 1,), first) for first, end in lines])
        weights = torch.log_softmax(back[row][0](asked) + seen[asked], dim=-1)
        looked.append(-weights.gather(1, sought[:, None])[:, 0])
        places = [(place, first, end) for one, place, first, end in told.choices if one == row]
        asked = torch.tensor([place for place, *_ in places])
        weights = torch.log_softmax(meant[row][0](asked) + seen[asked], dim=-1)
        for found, (_, first, end) in zip(weights, places, strict=True):
            chosen.append(-torch.logsumexp(found[first:end], dim=0))
    return torch.cat(looked).mean() + torch.stack(chosen).mean()
