"""The tables of an index: the vectors' own index finds what comparing all of them finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_tools.retrieval import store as stores
from llava_tools.retrieval.store import DocumentRow, Meta, PageRow, Store

WIDTH, FEW = 24, 400


def pages(first: int, vectors: Any) -> list[PageRow]:
    """Pages from a number on; every third one has no text."""
    return [
        PageRow("d", page, "", 9, 9, "words" if page % 3 else "", b"", vector)
        for page, vector in enumerate(vectors.tolist(), start=first)
    ]


def exact(vectors: Any, query: Any) -> list[int]:
    return (np.argsort(-(vectors @ query), kind="stable") + 1).tolist()  # type: ignore[no-any-return]


def test_the_index_for_vectors_finds_what_is_nearest_also_of_what_came_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MANY", FEW)
    rng = np.random.default_rng(1)
    store = Store(tmp_path / "index", Meta("m", "c", WIDTH))
    everything = np.empty((0, WIDTH), np.float32)
    for round_ in range(3):  # each around another place than those that the index was made from
        new = rng.standard_normal((FEW // 2 + 1, WIDTH)) + 2 * round_ * rng.standard_normal(WIDTH)
        new /= np.linalg.norm(new, axis=1, keepdims=True)
        store.add_pages(pages(len(everything) + 1, new.astype(np.float32)))
        everything = np.concatenate([everything, new.astype(np.float32)])
        store.put_documents([DocumentRow("d.pdf", "d", len(everything), True, True)])
        store.sweep()
        store = Store(tmp_path / "index")
        indexed = [index.columns for index in store._pages.list_indices()]
        assert (["vector"] in indexed) is (len(everything) >= FEW)
        for query in rng.standard_normal((10, WIDTH)).astype(np.float32):
            right = exact(everything, query)
            assert [row["page"] for row in store.nearest(query.tolist(), 10)] == right[:10]
            bare = [page for page in right if page % 3 == 0]
            found = store.nearest(query.tolist(), 10, bare=True)
            assert [row["page"] for row in found] == bare[:10]


def test_a_nearness_is_one_less_the_cosine_whatever_the_lengths(tmp_path: Path) -> None:
    store = Store(tmp_path / "index", Meta("m", "c", 2))
    store.add_pages(pages(1, np.array([[1.0, 0.0], [0.6, 0.8]])))
    store.put_documents([DocumentRow("d.pdf", "d", 2, True, True)])
    rows = Store(tmp_path / "index").nearest([3.0, 0.0], 5)
    assert [1 - row["_distance"] for row in rows] == pytest.approx([1.0, 0.6])


def test_bare_pages_are_taken_evenly(tmp_path: Path) -> None:
    store = Store(tmp_path / "index", Meta("m", "c", 1))
    assert store.bare(5) == []
    store.add_pages(pages(1, np.arange(1.0, 31.0)[:, None]))
    assert store.bare(99) == [[float(page)] for page in range(3, 31, 3)]
    assert store.bare(5) == [[3.0], [9.0], [15.0], [21.0], [27.0]]
