"""The simulation of `benchmarks.image_weight`."""

from __future__ import annotations

import math

import pytest

from benchmarks.image_weight import FIRST_RANKS, ndcg, rank_scores

PAGES, QUERIES = 250, 1000


def test_without_vectors_the_right_pages_have_the_ranks_of_the_texts() -> None:
    expected = sum(chance / math.log2(rank + 2) for rank, chance in enumerate(FIRST_RANKS))
    assert ndcg(*rank_scores(PAGES, QUERIES, 0.5), 0.0) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(("quality", "helps"), [(0.2, False), (0.99, True)])
def test_only_good_vectors_improve_the_order(quality: float, helps: bool) -> None:
    scores = rank_scores(PAGES, QUERIES, quality)
    assert (ndcg(*scores, 1.0) > ndcg(*scores, 0.0)) is helps
