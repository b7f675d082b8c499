"""Attention in parts and in place against plain masked attention over what each row may see."""

from __future__ import annotations

import random

import pytest
import torch

from llava_tools.engine.cpu.attention import BatchSequence, attend, index_of, parts_of

BLOCK_SIZE, HEADS, HEAD = 32, 2, 8
BLOCKS = 96


def _sequences(rng: random.Random) -> list[BatchSequence]:
    """Prompts, ends of prompts and single tokens; some with a common prefix, some scattered."""
    free = list(range(BLOCKS))
    if rng.random() < 0.5:
        rng.shuffle(free)
    common = [free.pop(0) for _ in range(rng.choice([0, 3, 5, 9]))]
    sequences: list[BatchSequence] = []
    row = 0
    for _ in range(rng.randint(1, 5)):
        shares = bool(common) and rng.random() < 0.7
        past = len(common) * BLOCK_SIZE * shares + rng.choice([0, 1, 31, 40, 200])
        rows = rng.choice([1, 1, 2, 33, 70])
        new = -(-(past + rows) // BLOCK_SIZE) - len(common) * shares
        blocks = [*(common if shares else ()), *(free.pop(0) for _ in range(new))]
        sequences.append(BatchSequence(row, rows, past, [block * BLOCK_SIZE for block in blocks]))
        row += rows
    return sequences


def _plain(
    sequences: list[BatchSequence], queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
    outputs = []
    for item in sequences:
        slots = torch.tensor([first + i for first in item.blocks for i in range(BLOCK_SIZE)])
        for i in range(item.rows):
            visible = slots[: item.past + i + 1]
            scores = torch.einsum("hd,khd->hk", queries[item.first + i], keys[visible]) * 0.3
            output = torch.einsum("hk,khd->hd", scores.softmax(-1), values[visible])
            outputs.append(output.flatten())
    return torch.stack(outputs)


@pytest.mark.parametrize("seed", range(30))
def test_attention_in_parts_equals_plain_attention(seed: int) -> None:
    torch.manual_seed(seed)
    sequences = _sequences(random.Random(seed))
    rows = sequences[-1].first + sequences[-1].rows
    queries = torch.randn(rows, HEADS, HEAD)
    keys, values = torch.randn(2, BLOCKS * BLOCK_SIZE, HEADS, HEAD)
    outputs = attend(parts_of(sequences, BLOCK_SIZE), queries, keys, values, 0.3)
    assert torch.allclose(outputs, _plain(sequences, queries, keys, values), atol=1e-5)


def test_a_contiguous_sequence_is_read_in_place() -> None:
    (part,) = parts_of([BatchSequence(0, 1, 99, [64, 96, 128, 160])], BLOCK_SIZE)
    assert part.slots == slice(64, 164)
    assert not part.merge


def test_questions_about_one_image_attend_to_it_together() -> None:
    image = [i * BLOCK_SIZE for i in range(8)]
    sequences = [BatchSequence(i, 1, 256 + i, [*image, (10 + i) * BLOCK_SIZE]) for i in range(3)]
    shared, *others = parts_of(sequences, BLOCK_SIZE)
    assert shared.rows == slice(0, 3)
    assert shared.slots == slice(0, 256)
    assert [part.rows for part in others] == [slice(i, i + 1) for i in range(3)]
    assert all(part.merge for part in others)


def test_only_contiguous_slots_become_a_slice() -> None:
    assert index_of(torch.tensor([3, 4, 5])) == slice(3, 6)
    assert isinstance(index_of(torch.tensor([3, 5, 6])), torch.Tensor)
    assert isinstance(index_of(torch.tensor([4, 3, 5, 6])), torch.Tensor)
