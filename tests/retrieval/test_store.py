"""`Store`: the vector index returns the same pages as a comparison of all vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_tools.retrieval import vector_index
from llava_tools.retrieval.schema import DocumentRow, IndexMetadata, PageRow
from llava_tools.retrieval.store import Store
from llava_tools.retrieval.writable_store import WritableStore

DIMENSIONS, MIN_INDEXED_PAGES = 24, 400


def pages(first: int, vectors: Any) -> list[PageRow]:
    """Pages from a number on; every third one has no text."""
    return [
        PageRow("d", page, "", 9, 9, "words" if page % 3 else "", b"", vector)
        for page, vector in enumerate(vectors.tolist(), start=first)
    ]


def ranked(vectors: Any, query: Any) -> list[int]:
    """All pages, by their vectors' product with the query."""
    return (np.argsort(-(vectors @ query), kind="stable") + 1).tolist()  # type: ignore[no-any-return]


def test_vector_index_finds_the_nearest_pages_even_if_added_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_index, "MIN_INDEXED_PAGES", MIN_INDEXED_PAGES)
    rng = np.random.default_rng(1)
    store = WritableStore(tmp_path / "index", IndexMetadata("m", "c", DIMENSIONS))
    vectors = np.empty((0, DIMENSIONS), np.float32)
    for round_ in range(3):  # each around another centre than those the index was built from
        shape = (MIN_INDEXED_PAGES // 2 + 1, DIMENSIONS)
        new = rng.standard_normal(shape) + 2 * round_ * rng.standard_normal(DIMENSIONS)
        new /= np.linalg.norm(new, axis=1, keepdims=True)
        store.add_pages(pages(len(vectors) + 1, new.astype(np.float32)))
        vectors = np.concatenate([vectors, new.astype(np.float32)])
        store.put_documents([DocumentRow("d.pdf", "d", len(vectors), True, True)])
        store.clean_up()
        store = WritableStore(tmp_path / "index")
        indexed = [index.columns for index in store._pages.list_indices()]
        assert (["vector"] in indexed) is (len(vectors) >= MIN_INDEXED_PAGES)
        for query in rng.standard_normal((10, DIMENSIONS)).astype(np.float32):
            expected = ranked(vectors, query)
            assert [row["page"] for row in store.nearest(query.tolist(), 10)] == expected[:10]
            expected = [page for page in expected if page % 3 == 0]
            rows = store.nearest(query.tolist(), 10, without_text=True)
            assert [row["page"] for row in rows] == expected[:10]


def test_distance_is_one_minus_cosine_for_vectors_of_any_length(tmp_path: Path) -> None:
    store = WritableStore(tmp_path / "index", IndexMetadata("m", "c", 2))
    store.add_pages(pages(1, np.array([[1.0, 0.0], [0.6, 0.8]])))
    store.put_documents([DocumentRow("d.pdf", "d", 2, True, True)])
    rows = Store(tmp_path / "index").nearest([3.0, 0.0], 5)
    assert [1 - row["_distance"] for row in rows] == pytest.approx([1.0, 0.6])


def test_sample_is_spread_evenly(tmp_path: Path) -> None:
    store = WritableStore(tmp_path / "index", IndexMetadata("m", "c", 1))
    assert store.sample(5) == store.sample(5, without_text=True) == []
    store.add_pages(pages(1, np.arange(1.0, 31.0)[:, None]))

    def sample(limit: int, *, without_text: bool) -> list[float]:
        rows = store.sample(limit, without_text=without_text)
        assert all(not row["text"] for row in rows) or not without_text
        return [row["vector"][0] for row in rows]

    assert sample(99, without_text=True) == list(range(3, 31, 3))
    assert sample(5, without_text=True) == [3, 9, 15, 21, 27]
    assert sample(5, without_text=False) == [1, 7, 13, 19, 25]


def test_pages_of_the_same_score_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    store = WritableStore(tmp_path / "index", IndexMetadata("m", "c", 2))
    order = [7, 2, 9, 1, 4]
    store.add_pages([PageRow("d", page, "", 9, 9, "tea", b"", (1.0, 0.0)) for page in order])
    store.put_documents([DocumentRow("d.pdf", "d", len(order), True, True)])
    store.clean_up()
    opened = Store(tmp_path / "index")
    assert [row["page"] for row in opened.nearest([1.0, 0.0], 9)] == sorted(order)
    assert [row["page"] for row in opened.match_text("tea", 9)] == sorted(order)
