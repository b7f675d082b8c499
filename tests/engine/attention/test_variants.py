"""Attention with windows, softcaps and sinks equals a plain computation, row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from llava_tools.engine.attention import SequenceRows, variants
from llava_tools.engine.attention.reference import ReferenceAttention
from llava_tools.engine.attention.variants import VariantAttention

HEADS, KV_HEADS, HEAD_DIM, BLOCK = 4, 2, 8, 4

#: A prompt, the end of one, a token, and a prompt shorter than the window.
SEQUENCES = [
    SequenceRows(0, 9, 0, [0, 4, 8]),
    SequenceRows(9, 5, 8, [20, 12, 28, 16]),
    SequenceRows(14, 1, 12, [44, 40, 36, 32]),
    SequenceRows(15, 3, 0, [24]),
]
SINKS = torch.tensor([0.3, -1.0, 2.0, 0.0])


def attend_row(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    window: int | None,
    softcap: float | None,
    sink: float | None,
) -> Tensor:
    """One head of one row, [head_dim], over the keys up to its own."""
    if window is not None:
        keys, values = keys[-window:], values[-window:]
    scores = keys @ query * 0.4
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    total = scores.exp().sum() + (0 if sink is None else torch.tensor(sink).exp())
    return (scores.exp() / total) @ values


@pytest.mark.parametrize("rows_at_once", [2, 256])
@pytest.mark.parametrize("sinks", [None, SINKS], ids=["", "sinks"])
@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("window", [None, 1, 4, 100])
def test_each_row_attends_as_a_plain_computation_does(
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
    rows_at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(variants, "_MAX_ROWS", rows_at_once)
    torch.manual_seed(0)
    query = torch.randn(18, HEADS, HEAD_DIM)
    keys, values = torch.randn(2, 48, KV_HEADS, HEAD_DIM)
    attention = VariantAttention(ReferenceAttention())
    plan = attention.plan(SEQUENCES, BLOCK)
    for _ in range(2):  # as two layers do with one plan
        output = attention(
            plan, query, keys, values, 0.4, window=window, softcap=softcap, sinks=sinks
        ).view(18, HEADS, HEAD_DIM)
        for item in SEQUENCES:
            slots = [block + n for block in item.blocks for n in range(BLOCK)]
            for row in range(item.rows):
                visible = slots[: item.past + row + 1]
                for head in range(HEADS):
                    expected = attend_row(
                        query[item.first + row, head],
                        keys[visible, head // 2],
                        values[visible, head // 2],
                        window,
                        softcap,
                        None if sinks is None else float(sinks[head]),
                    )
                    assert torch.allclose(output[item.first + row, head], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "plain"),
    [({}, True), ({"window": 13}, True), ({"window": 12}, False), ({"softcap": 50.0}, False)],
    ids=str,
)
def test_what_is_plain_goes_to_the_plug(
    options: dict[str, Any], plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest sequence has 13 keys."""
    calls: list[float] = []
    plug = ReferenceAttention.__call__

    def count(self: ReferenceAttention, *arguments: Any) -> Tensor:
        calls.append(1)
        return plug(self, *arguments)

    monkeypatch.setattr(ReferenceAttention, "__call__", count)
    attention = VariantAttention(ReferenceAttention())
    query, (keys, values) = (
        torch.randn(18, HEADS, HEAD_DIM),
        torch.randn(2, 48, KV_HEADS, HEAD_DIM),
    )
    attention(attention.plan(SEQUENCES, BLOCK), query, keys, values, 0.4, **options)
    assert bool(calls) is plain
