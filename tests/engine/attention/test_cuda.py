"""The attention for GPUs computes what the reference does; here without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

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
    attention = CudaAttention(torch.device("cpu"), decode_in_torch)
    out = attention(attention.plan(sequences, BLOCK), query, keys, values, 0.3)
    assert torch.allclose(out, plain(sequences, query, keys, values), atol=1e-5)


KERNEL = """
import torch
from llava_tools.engine.attention.cuda import decode_in_torch
from llava_tools.engine.attention.paged_decode import paged_decode
torch.manual_seed(0)
shapes = ((4, 4, 16, "float32"), (14, 2, 20, "float32"), (8, 1, 32, "bfloat16"))
for heads, kv_heads, size, dtype in shapes:
    keys, values = torch.randn(2, 40 * 32, kv_heads, size).to(getattr(torch, dtype))
    blocks = (torch.randperm(40)[:20].view(4, 5) * 32).to(torch.int32)
    lengths = torch.tensor([1, 33, 160, 64], dtype=torch.int32)
    query = torch.randn(4, heads, size).to(keys.dtype)
    for splits in (1, 3, 8):
        arguments = (query, keys, values, blocks, lengths, 0.3, 32, splits)
        tolerance = 1e-5 if dtype == "float32" else 2e-2
        assert torch.allclose(paged_decode(*arguments), decode_in_torch(*arguments), atol=tolerance)
print("equal")
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernel_computes_the_same_in_tritons_interpreter() -> None:
    result = subprocess.run(
        [sys.executable, "-c", KERNEL],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert result.stdout == "equal\n", result.stderr
