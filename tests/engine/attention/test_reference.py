"""The reference attention against plain masked attention over what each row may see."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from llava_tools.engine.attention import SequenceRows
from llava_tools.engine.attention.reference import Group, Prompt, ReferenceAttention

BLOCK_SIZE, HEAD_DIM = 32, 8
BLOCKS = 128


def _sequences(rng: random.Random) -> list[SequenceRows]:
    """Prompts, ends of prompts and single tokens; some with a common prefix, some scattered."""
    free = list(range(BLOCKS))
    if rng.random() < 0.5:
        rng.shuffle(free)
    common = [free.pop(0) for _ in range(rng.choice([0, 3, 5, 9]))]
    sequences: list[SequenceRows] = []
    row = 0
    for _ in range(rng.randint(1, 6)):
        shares = bool(common) and rng.random() < 0.7
        past = len(common) * BLOCK_SIZE * shares + rng.choice([0, 1, 31, 40, 200, 330])
        rows = rng.choice([1, 1, 1, 2, 33, 70])
        new = -(-(past + rows) // BLOCK_SIZE) - len(common) * shares
        blocks = [*(common if shares else ()), *(free.pop(0) for _ in range(new))]
        sequences.append(SequenceRows(row, rows, past, [block * BLOCK_SIZE for block in blocks]))
        row += rows
    return sequences


def _plain(
    sequences: list[SequenceRows], query: Tensor, keys: Tensor, values: Tensor, scale: float
) -> Tensor:
    group = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
    outputs = []
    for item in sequences:
        slots = torch.tensor([first + i for first in item.blocks for i in range(BLOCK_SIZE)])
        for i in range(item.rows):
            visible = slots[: item.past + i + 1]
            scores = torch.einsum("hd,khd->hk", query[item.first + i], keys[visible]) * scale
            output = torch.einsum("hk,khd->hd", scores.softmax(-1), values[visible])
            outputs.append(output.flatten())
    return torch.stack(outputs)


@pytest.mark.parametrize("heads", [(2, 2), (6, 2), (4, 1)], ids=["each", "grouped", "one"])
@pytest.mark.parametrize("seed", range(30))
def test_equals_plain_attention(seed: int, heads: tuple[int, int]) -> None:
    torch.manual_seed(seed)
    sequences = _sequences(random.Random(seed))
    rows = sequences[-1].first + sequences[-1].rows
    query = torch.randn(rows, heads[0], HEAD_DIM)
    keys, values = torch.randn(2, BLOCKS * BLOCK_SIZE, heads[1], HEAD_DIM)
    attention = ReferenceAttention()
    outputs = attention(attention.plan(sequences, BLOCK_SIZE), query, keys, values, 0.3)
    assert torch.allclose(outputs, _plain(sequences, query, keys, values, 0.3), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("seed", range(8))
def test_16_bit_differ_by_rounding_of_weights_and_outputs(seed: int, dtype: torch.dtype) -> None:
    torch.manual_seed(seed)
    sequences = _sequences(random.Random(seed))
    rows = sequences[-1].first + sequences[-1].rows
    query = torch.randn(rows, 6, HEAD_DIM)  # a decoder rotates queries in float32
    keys, values = torch.randn(2, BLOCKS * BLOCK_SIZE, 2, HEAD_DIM).to(dtype)
    attention = ReferenceAttention()
    outputs = attention(attention.plan(sequences, BLOCK_SIZE), query, keys, values, 0.3)
    expected = _plain(sequences, query, keys.float(), values.float(), 0.3)
    assert outputs.dtype == dtype
    # A large query finds the keys that it fits, so a product in 16 bit would miss by far more.
    error = (outputs.float() - expected).norm() / expected.norm()
    assert error < torch.finfo(dtype).eps


def test_large_scores_lose_nothing_in_16_bit() -> None:
    """Scores of 300 differ by 0.3 where bfloat16 would round them to multiples of 2."""
    query = torch.tensor([[[100.0, 1.0]]])
    keys = torch.tensor([[3.0, 0.0], [3.0, 0.3]]).bfloat16()[:, None]
    values = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).bfloat16()[:, None]
    attention = ReferenceAttention()
    plan = attention.plan([SequenceRows(0, 1, 1, [0])], BLOCK_SIZE)
    (output,) = attention(plan, query, keys, values, 1.0).tolist()
    ratio = output[1] / output[0]
    assert ratio == pytest.approx(torch.tensor(0.3).exp().item(), rel=0.02)


def test_a_contiguous_sequence_is_read_in_place() -> None:
    (part,) = ReferenceAttention().plan([SequenceRows(0, 1, 159, [64, 96, 128, 160, 192])], 32)
    assert part == Group(slice(0, 1), slice(64, 224))


def test_a_prompt_is_read_in_place() -> None:
    (part,) = ReferenceAttention().plan([SequenceRows(0, 90, 9, [64, 96, 128, 160])], BLOCK_SIZE)
    assert isinstance(part, Prompt)
    assert part.slots == slice(64, 163)


def test_what_follows_a_contiguous_prefix_is_gathered() -> None:
    blocks = [*range(0, 160, 32), 640, 320]
    (part,) = ReferenceAttention().plan([SequenceRows(0, 1, 200, blocks)], BLOCK_SIZE)
    assert isinstance(part, Group)
    assert part.prefix == slice(0, 160)
    assert part.tails is not None
    assert part.tails.tolist() == [[*range(640, 672), *range(320, 329)]]


def test_questions_about_one_image_attend_to_it_together() -> None:
    image = [i * BLOCK_SIZE for i in range(8)]
    sequences = [SequenceRows(i, 1, 256 + i, [*image, (10 + i) * BLOCK_SIZE]) for i in range(3)]
    (group,) = ReferenceAttention().plan(sequences, BLOCK_SIZE)
    assert isinstance(group, Group)
    assert group.rows == slice(0, 3)
    assert group.prefix == slice(0, 256)
    assert group.tails is not None
    assert group.tails.shape == (3, 3)
    assert group.mask is not None
    assert torch.isinf(group.mask).sum(-1).flatten().tolist() == [2, 1, 0]


def test_short_sequences_are_computed_together() -> None:
    sequences = [SequenceRows(i, 1, 20 + i, [i * BLOCK_SIZE]) for i in range(5)]
    (group,) = ReferenceAttention().plan(sequences, BLOCK_SIZE)
    assert isinstance(group, Group)
    assert group.prefix is None
    assert group.tails is not None
    assert group.tails.shape == (5, 25)


def test_an_empty_plan_has_no_rows() -> None:
    attention = ReferenceAttention()
    cache = torch.zeros(BLOCK_SIZE, 2, HEAD_DIM)
    query = torch.zeros(0, 4, HEAD_DIM)
    assert attention(attention.plan([], BLOCK_SIZE), query, cache, cache, 1.0).shape == (0, 32)
