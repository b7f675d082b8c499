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
from llava_tools.retrieval.calibration import Noise, VectorCalibration
from llava_tools.retrieval.fusion import fuse, match_images, weighted_rankings
from llava_tools.retrieval.scores import best_coverage
from llava_tools.retrieval.search import SearchMode
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_pdf

#: A cosine of 0.1 is mean noise, and 0.4 three standard deviations more.
NOISE = Noise(0.1, 0.1, (0.0, 0.0))
#: Vectors that rank pages with a text by chance, and well.
CHANCE, RELIABLE = (VectorCalibration(weight, NOISE, NOISE, 99) for weight in (0.0, 0.6))
QUERY = "descaling the coffee machine"

rankings = st.permutations(range(9)).map(lambda pages: pages[:6])
cosines = st.lists(st.floats(0, 1), min_size=9, max_size=9)


def row(page: int, text: str, cosine: float = 0.0) -> dict[str, Any]:
    digest = "text" if text else "image"
    return {"digest": digest, "page": page, "text": text, "_distance": 1 - cosine}


def hybrid_order(
    texts: list[int],
    nearest: list[int],
    images: list[float],
    words: str = QUERY,
    calibration: VectorCalibration = CHANCE,
) -> list[tuple[str, int]]:
    """The order of a hybrid search for `QUERY`, if the first text contains `words`."""
    matches = [row(page, words if rank == 0 else "no") for rank, page in enumerate(texts)]
    neighbours = [row(page, "", x) for page, x in enumerate(sorted(images, reverse=True))]
    neighbours += [row(page, "no") for page in nearest]
    candidates = match_images(calibration, (0, 1), matches, neighbours)
    share = best_coverage(QUERY, matches)
    rankings = weighted_rankings(calibration, share, matches, neighbours, candidates)
    scores, _ = fuse(rankings, 2)
    assert all(0 < score <= 1 + 1e-9 for score in scores.values())
    return sorted(scores, key=lambda page: -scores[page])


@given(st.lists(st.permutations(range(9)), min_size=1, max_size=2))
def test_pages_ahead_in_every_ranking_score_higher(orders: list[list[int]]) -> None:
    scores, _ = fuse([([row(page, "a") for page in order], 0.5) for order in orders], len(orders))
    for page in range(9):
        for other in range(9):
            if all(order.index(page) < order.index(other) for order in orders):
                assert scores["text", page] > scores["text", other]


@given(
    rankings,
    rankings,
    cosines,
    st.sampled_from([QUERY, "coffee machine", "nothing"]),
    st.sampled_from([CHANCE, RELIABLE]),
)
def test_images_do_not_change_the_order_of_texts(
    texts: list[int],
    nearest: list[int],
    images: list[float],
    words: str,
    calibration: VectorCalibration,
) -> None:
    order = hybrid_order(texts, nearest, images, words, calibration)
    without_images = hybrid_order(texts, nearest, [], words, calibration)
    assert [page for page in order if page[0] == "text"] == without_images


@given(rankings, rankings)
def test_vectors_by_chance_do_not_count_for_pages_with_a_text(
    texts: list[int], nearest: list[int]
) -> None:
    assert hybrid_order(texts, nearest, []) == [("text", page) for page in texts]


@given(rankings, rankings, cosines)
def test_images_of_mean_noise_come_after_matching_texts(
    texts: list[int], nearest: list[int], images: list[float]
) -> None:
    noisy = [min(cosine, 0.1) for cosine in images]
    for words in (QUERY, "coffee", "nothing"):
        first = hybrid_order(texts, nearest, noisy, words)[: len(texts)]
        assert {page for digest, page in first if digest == "text"} == set(texts)


@pytest.mark.parametrize(
    ("words", "cosine", "order"),
    [
        # Evidence of the texts; of the images: 1.1, 0.7 and 0.4.
        (QUERY, 0.43, "image image text text"),  # 1
        (QUERY, 0.31, "text image text image"),
        (QUERY, 0.22, "text text text image"),
        ("coffee machine", 0.31, "image image text text"),  # 13 of 22 letters
        ("coffee machine", 0.22, "text image text image"),
        ("coffee", 0.22, "image image text text"),  # 6 of 22
        ("nothing", 0.22, "image image text text"),  # 0
    ],
)
def test_images_come_before_between_or_after_texts_by_their_evidence(
    words: str, cosine: float, order: str
) -> None:
    pages = hybrid_order([1, 2, 3], [], [cosine, cosine], words)[:4]
    assert " ".join(digest for digest, _ in pages) == order


def test_candidates_are_images_and_pages_that_the_texts_found() -> None:
    texts = [row(page, "coffee") for page in (4, 5)]
    nearest = [row(9, "no", 0.9), row(0, "", 0.7), row(4, "coffee", 0.6), row(1, "", 0.4)]
    other = Noise(0.1, 0.05, (0.0, 0.0))
    calibration = VectorCalibration(0.0, other, NOISE, 99)
    candidates = match_images(calibration, (0, 1), texts, nearest)
    assert [(found["digest"], found["page"]) for _, found in candidates] == [
        ("text", 4),  # each kind of pages has its own noise
        ("image", 0),
        ("image", 1),
    ]
    assert [value for value, _ in candidates] == pytest.approx([0.5 / 0.15, 2, 1], rel=1e-3)
    # Without a measurement, images alone, and evidence is the cosine.
    unmeasured = match_images(VectorCalibration(), (0, 1), texts, nearest)
    assert [value for value, _ in unmeasured] == pytest.approx([0.7, 0.4])


def test_a_text_whose_image_has_more_evidence_comes_before_images_and_texts() -> None:
    texts = [row(page, "coffee") for page in (1, 2, 3)]
    nearest = [row(3, "coffee", 0.9), row(0, "", 0.6), row(2, "coffee", 0.15), row(1, "", 0.1)]
    for calibration in (CHANCE, RELIABLE):
        candidates = match_images(calibration, (0, 1), texts, nearest)
        scores, _ = fuse(weighted_rankings(calibration, 0.5, texts, nearest, candidates), 2)
        order = sorted(scores, key=lambda page: -scores[page])
        assert order[:2] == [("text", 3), ("image", 0)]
        assert set(order[2:4]) == {("text", 1), ("text", 2)}
        assert order[4] == ("image", 1)


@pytest.mark.parametrize(("coverage", "weight"), [(0.0, 2.0), (0.25, 1.75), (1.0, 1.0)])
def test_without_calibration_images_weigh_more_if_texts_contain_less_of_the_query(
    coverage: float, weight: float
) -> None:
    nearest = [row(0, ""), row(2, "b")]
    weighted = weighted_rankings(VectorCalibration(), coverage, [row(1, "a")], nearest, [])
    assert [weight for _, weight in weighted] == pytest.approx([1.0, 1.0, weight])


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
