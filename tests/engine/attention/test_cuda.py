"""The attention for GPUs computes what the reference does; here without a GPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from llava_tools.engine.attention import SequenceRows
from llava_tools.engine.attention.cuda import CudaAttention, decode_in_torch

BLOCK = 32
SLOTS = 40 * BLOCK


def step(shapes: list[tuple[int, int]]) -> tuple[list[SequenceRows], int]:
    """Sequences of (past, rows) with blocks in no order, and the number of rows."""
    order = torch.randperm(SLOTS // BLOCK, generator=torch.Generator().manual_seed(1)).tolist()
    sequences: list[SequenceRows] = []
    first = 0
    for past, rows in shapes:
        count = -(-(past + rows) // BLOCK)
        blocks, order = [number * BLOCK for number in order[:count]], order[count:]
        sequences.append(SequenceRows(first, rows, past, blocks))
        first += rows
    return sequences, first


def plain(sequences: list[SequenceRows], query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One row after another, in float32."""
    group = query.shape[1] // keys.shape[1]
    out = torch.zeros_like(query)
    for item in sequences:
        for number in range(item.rows):
            slots = [
                item.blocks[position // BLOCK] + position % BLOCK
                for position in range(item.past + number + 1)
            ]
            k, v = (x[slots].repeat_interleave(group, 1) for x in (keys, values))
            scores = torch.einsum("hd,shd->hs", query[item.first + number], k) * 0.3
            out[item.first + number] = torch.einsum("hs,shd->hd", scores.softmax(-1), v)
    return out.flatten(1)


SHAPES = [
    pytest.param([(0, 1), (40, 1), (63, 1), (64, 1)], id="answers"),
    pytest.param([(0, 70)], id="a prompt"),
    pytest.param([(0, 33), (64, 20), (31, 2)], id="prompts with a past"),
    pytest.param([(50, 1), (10, 25), (7, 1), (0, 2)], id="both"),
]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (7, 1)])
def test_rows_attend_to_the_keys_up_to_their_own(
    shapes: list[tuple[int, int]], heads: int, kv_heads: int
) -> None:
    torch.manual_seed(0)
    sequences, rows = step(shapes)
    query = torch.randn(rows, heads, 16)
    keys, values = torch.randn(2, SLOTS, kv_heads, 16)
    attention = CudaAttention(torch.device("cpu"), decode_in_torch, reads_blocks=True)
    out = attention(attention.plan(sequences, BLOCK), query, keys, values, 0.3)
    assert torch.allclose(out, plain(sequences, query, keys, values), atol=1e-5)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_queries_in_float32_attend_to_keys_in_16_bit(
    dtype: torch.dtype, heads: int, kv_heads: int
) -> None:
    torch.manual_seed(0)
    sequences, rows = step([(50, 1), (10, 25), (7, 1), (0, 2)])
    query = torch.randn(rows, heads, 16)
    keys, values = torch.randn(2, SLOTS, kv_heads, 16).to(dtype)
    attention = CudaAttention(torch.device("cpu"), decode_in_torch, reads_blocks=True)
    out = attention(attention.plan(sequences, BLOCK), query, keys, values, 0.3)
    assert out.dtype == dtype
    expected = plain(sequences, query, keys.float(), values.float())
    assert torch.allclose(out.float(), expected, atol=3e-2)


def test_keys_whose_blocks_follow_each_other_are_read_where_they_lie() -> None:
    attention = CudaAttention(torch.device("cpu"), decode_in_torch, reads_blocks=True)
    items = [SequenceRows(0, 40, 0, [64, 96]), SequenceRows(40, 40, 0, [128, 0, 32])]
    inside, scattered = attention.plan(items, BLOCK).prompts
    assert inside.slots == slice(64, 104)
    assert isinstance(scattered.slots, Tensor)
    assert scattered.slots.tolist() == [*range(128, 160), *range(8)]
