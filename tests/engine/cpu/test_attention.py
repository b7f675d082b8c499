"""Attention in parts and in place against plain masked attention over what each row may see."""

from __future__ import annotations

import random

import pytest
import torch

from llava_tools.engine.cpu.attention import Reader, attend, plan, run

PAGE, HEADS, HEAD = 32, 2, 8
PAGES = 96


def _readers(choose: random.Random) -> list[Reader]:
    """Prompts, ends of prompts and single tokens; some with a common beginning, some scattered."""
    free = list(range(PAGES))
    if choose.random() < 0.5:
        choose.shuffle(free)
    common = [free.pop(0) for _ in range(choose.choice([0, 3, 5, 9]))]
    found: list[Reader] = []
    row = 0
    for _ in range(choose.randint(1, 5)):
        shares = bool(common) and choose.random() < 0.7
        past = len(common) * PAGE * shares + choose.choice([0, 1, 31, 40, 200])
        rows = choose.choice([1, 1, 2, 33, 70])
        own = -(-(past + rows) // PAGE) - len(common) * shares
        pages = [*(common if shares else ()), *(free.pop(0) for _ in range(own))]
        found.append(Reader(row, rows, past, [page * PAGE for page in pages]))
        row += rows
    return found


def _plain(
    readers: list[Reader], queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
    seen = []
    for one in readers:
        places = torch.tensor([page + i for page in one.pages for i in range(PAGE)][: one.end])
        for i in range(one.rows):
            sees = places[: one.past + i + 1]
            scores = torch.einsum("hd,khd->hk", queries[one.first + i], keys[sees]) * 0.3
            seen.append(torch.einsum("hk,khd->hd", scores.softmax(-1), values[sees]).flatten())
    return torch.stack(seen)


@pytest.mark.parametrize("seed", range(30))
def test_parts_see_what_plain_attention_sees(seed: int) -> None:
    torch.manual_seed(seed)
    readers = _readers(random.Random(seed))
    rows = readers[-1].first + readers[-1].rows
    queries = torch.randn(rows, HEADS, HEAD)
    keys, values = torch.randn(2, PAGES * PAGE, HEADS, HEAD)
    seen = attend(plan(readers, PAGE), queries, keys, values, 0.3)
    assert torch.allclose(seen, _plain(readers, queries, keys, values), atol=1e-5)


def test_a_sequence_in_a_row_is_looked_at_where_it_lies() -> None:
    (part,) = plan([Reader(0, 1, 99, [64, 96, 128, 160])], PAGE)
    assert part.places == slice(64, 164)
    assert not part.more


def test_questions_about_one_image_look_at_it_together() -> None:
    image = [i * PAGE for i in range(8)]
    readers = [Reader(i, 1, 256 + i, [*image, (10 + i) * PAGE]) for i in range(3)]
    shared, *own = plan(readers, PAGE)
    assert shared.rows == slice(0, 3)
    assert shared.places == slice(0, 256)
    assert [part.rows for part in own] == [slice(i, i + 1) for i in range(3)]
    assert all(part.more for part in own)


def test_places_that_do_not_follow_each_other_are_looked_up() -> None:
    assert run(torch.tensor([3, 4, 5])) == slice(3, 6)
    assert isinstance(run(torch.tensor([3, 5, 6])), torch.Tensor)
    assert isinstance(run(torch.tensor([4, 3, 5, 6])), torch.Tensor)
