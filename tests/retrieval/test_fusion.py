"""Hybrid search: two rankings in one order, of pages with a text and images without one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from llava_tools.images import ImageRef
from llava_tools.retrieval import PageIndex
from llava_tools.retrieval.calibration import MIN_WEIGHT, VectorCalibration
from llava_tools.retrieval.fusion import fuse, weighted_rankings, word_share
from llava_tools.retrieval.search import SearchMode
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_pdf

#: Vectors by chance, and passages of which one in ten has a margin of 0.9 or more.
UNRELIABLE = VectorCalibration(MIN_WEIGHT, tuple(1 - n / 10 for n in range(10)), (0.0, 0.0), 99)
QUERY = "descaling the coffee machine"

rankings = st.permutations(range(9)).map(lambda pages: pages[:6])
cosines = st.lists(st.floats(0, 1), min_size=9, max_size=9)


def row(page: int, text: str, cosine: float = 0.0) -> dict[str, Any]:
    digest = "text" if text else "image"
    return {"digest": digest, "page": page, "text": text, "_distance": 1 - cosine}


def hybrid_order(
    texts: list[int], nearest: list[int], images: list[float], words: str = QUERY
) -> list[tuple[str, int]]:
    """The order of a hybrid search for `QUERY`, if the first text contains `words`."""
    matches = [row(page, words if rank == 0 else "no") for rank, page in enumerate(texts)]
    neighbours = [row(page, "no") for page in nearest]
    neighbours += [row(page, "", x) for page, x in enumerate(sorted(images, reverse=True))]
    scores, _ = fuse(weighted_rankings(UNRELIABLE, QUERY, (0, 1), matches, neighbours), 2)
    assert all(0 < score <= 1 + 1e-9 for score in scores.values())
    return sorted(scores, key=lambda page: -scores[page])


@given(st.lists(st.permutations(range(9)), min_size=1, max_size=2))
def test_pages_ahead_in_every_ranking_score_higher(orders: list[list[int]]) -> None:
    scores, _ = fuse([([row(page, "a") for page in order], 0.5) for order in orders], len(orders))
    for page in range(9):
        for other in range(9):
            if all(order.index(page) < order.index(other) for order in orders):
                assert scores["text", page] > scores["text", other]


@given(rankings, rankings, cosines, st.sampled_from([QUERY, "coffee machine", "nothing"]))
def test_images_do_not_change_the_order_of_texts(
    texts: list[int], nearest: list[int], images: list[float], words: str
) -> None:
    order = hybrid_order(texts, nearest, images, words)
    without_images = hybrid_order(texts, nearest, [], words)
    assert [page for page in order if page[0] == "text"] == without_images


@given(rankings, rankings, cosines)
def test_images_below_the_noise_floor_come_after_matching_texts(
    texts: list[int], nearest: list[int], images: list[float]
) -> None:
    noisy = [min(cosine, 0.7) for cosine in images]  # three passages in ten have as much
    for words in (QUERY, "coffee", "nothing"):
        first = hybrid_order(texts, nearest, noisy, words)[: len(texts)]
        assert {page for digest, page in first if digest == "text"} == set(texts)


@pytest.mark.parametrize(
    ("words", "order"),
    [
        # All words are in a text: images above the noise of every passage come between the texts.
        (QUERY, "text image text image"),
        ("descaling the coffee", "text image text image"),
        ("descale a coffee-machine", "image image text text"),
        ("nothing", "image image text text"),
    ],
)
def test_images_above_the_noise_floor_come_between_or_before_texts(words: str, order: str) -> None:
    pages = hybrid_order([1, 2, 3], [1, 2, 3], [1.01, 1.005, 0.2], words)[:4]
    assert " ".join(digest for digest, _ in pages) == order


def test_noise_floor_is_lower_if_texts_contain_fewer_words() -> None:
    ranks = [hybrid_order([1, 2], [], [0.85], words).index(("image", 0)) for words in ("no", QUERY)]
    assert ranks == [0, 2]


@pytest.mark.parametrize(("words", "weight"), [("a", 2.0), ("coffee", 5 / 3), (QUERY, 1.0)])
def test_without_calibration_images_weigh_more_if_texts_contain_fewer_words(
    words: str, weight: float
) -> None:
    query = "descaling coffee machine"
    weighted = weighted_rankings(
        VectorCalibration(), query, (0, 1), [row(1, words)], [row(0, ""), row(2, "b")]
    )
    assert [weight for _, weight in weighted] == pytest.approx([1.0, 1.0, weight])


@given(st.text(max_size=40), st.lists(st.text(max_size=40), max_size=4))
def test_word_share_is_a_share(query: str, texts: list[str]) -> None:
    rows = [row(0, text) for text in texts]
    assert 0 <= word_share(query, rows) <= 1
    assert word_share(query, [*rows, row(0, query)]) == 1


def test_word_share_ignores_case_plural_and_short_words() -> None:
    rows = [row(0, "A Red circle."), row(1, "the end")]
    assert word_share("the red circles", rows) == pytest.approx(2 / 3)
    assert word_share("a", [row(0, "x")]) == 1
    assert word_share("a", []) == word_share("word", []) == 0


@pytest.mark.parametrize("mode", ["hybrid", "image"])
def test_questions_find_texts_and_captions_find_images(tmp_path: Path, mode: SearchMode) -> None:
    """Passages are nearest to image 0, a hub, but with smaller margins than captions."""
    folder = tmp_path / "in"
    folder.mkdir()
    pages = [f"machine {page} " + " ".join([f"part{page}"] * 30) for page in range(30)]
    write_pdf(folder / "manual.pdf", pages, (3000, 400))
    for number in range(25):
        Image.new("RGB", (20, 20), (10 * number, 0, 0)).save(folder / f"{number:02}.png")

    def rotated(angle: float, height: float) -> tuple[float, float, float]:
        return math.cos(angle), math.sin(angle), height

    def images(image: ImageRef) -> tuple[float, float, float]:
        red = image.rgb().getpixel((0, 0))[0]  # type: ignore[index]
        return rotated(red / 40, 0.0) if image.size == (20, 20) else (0.0, 0.0, -1.0)

    def texts(text: str) -> tuple[float, float, float]:
        red = next((int(word) for word in text.split() if word.isdigit() and len(word) > 2), None)
        return rotated(0.0, 3.0) if red is None else rotated(red / 40, 0.0)

    index = PageIndex(tmp_path / "index", ScriptedEmbedder(texts, images, dimensions=3))
    index.update([folder])
    hits = index.search("shown in 120", 5, mode=mode)
    assert Path(hits[0].document).name == "12.png"
    hits = index.search("which machine has part7", 5, mode=mode)
    assert (hits[0].page == 8) is (mode == "hybrid")
    assert all(hit.text for hit in hits) is (mode == "hybrid")
