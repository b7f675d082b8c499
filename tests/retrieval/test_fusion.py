"""Two rankings in one order: pages with a text and images without one."""

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
from llava_tools.retrieval.calibration import FLOOR, VectorCalibration
from llava_tools.retrieval.fusion import fused, said, use_logprobs
from llava_tools.retrieval.search import Mode
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_pdf

#: Vectors that know nothing of pages, and passages of which one in ten has a lead of 0.9 or more.
BLIND = VectorCalibration(FLOOR, tuple(1 - place / 10 for place in range(10)), (0.0, 0.0), 99)
QUERY = "descaling the coffee machine"

rankings = st.permutations(range(9)).map(lambda pages: pages[:6])
nearness = st.lists(st.floats(0, 1), min_size=9, max_size=9)


def row(page: int, text: str, cosine: float = 0.0) -> dict[str, Any]:
    return {
        "digest": "text" if text else "bare",
        "page": page,
        "text": text,
        "_distance": 1 - cosine,
    }


def ordered(
    texts: list[int], near: list[int], bare: list[float], words: str = QUERY
) -> list[tuple[str, int]]:
    """The order of a hybrid search for `QUERY`, where the first text says `words`."""
    first = [row(page, words if place == 0 else "no") for place, page in enumerate(texts)]
    pages = [row(page, "no") for page in near]
    images = [row(page, "", c) for page, c in enumerate(sorted(bare, reverse=True))]
    scores, _ = fused(use_logprobs(BLIND, QUERY, (0, 1), first, pages + images), 2)
    assert all(0 < score <= 1 + 1e-9 for score in scores.values())
    return sorted(scores, key=lambda page: -scores[page])


@given(st.lists(st.permutations(range(9)), min_size=1, max_size=2))
def test_who_is_before_in_every_ranking_scores_higher(found: list[list[int]]) -> None:
    scores, _ = fused([([row(page, "a") for page in one], 0.5) for one in found], len(found))
    for one in range(9):
        for other in range(9):
            if all(ranking.index(one) < ranking.index(other) for ranking in found):
                assert scores["text", one] > scores["text", other]


@given(rankings, rankings, nearness, st.sampled_from([QUERY, "coffee machine", "nothing"]))
def test_images_change_nothing_between_texts(
    texts: list[int], near: list[int], bare: list[float], words: str
) -> None:
    alone = ordered(texts, near, [], words)
    assert [page for page in ordered(texts, near, bare, words) if page[0] == "text"] == alone


@given(rankings, rankings, nearness)
def test_images_that_do_not_stand_out_come_behind_what_the_texts_found(
    texts: list[int], near: list[int], bare: list[float]
) -> None:
    few = [min(cosine, 0.7) for cosine in bare]  # three passages in ten have as much
    for words in (QUERY, "coffee", "nothing"):
        found = ordered(texts, near, few, words)[: len(texts)]
        assert {page for kind, page in found if kind == "text"} == set(texts)


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (QUERY, "text bare text bare"),  # all is said: only what no passage equals comes between
        ("descaling the coffee", "text bare text bare"),
        ("descale a coffee-machine", "bare bare text text"),
        ("nothing", "bare bare text text"),
    ],
)
def test_a_image_that_stands_out(words: str, first: str) -> None:
    found = ordered([1, 2, 3], [1, 2, 3], [1.01, 1.005, 0.2], words)[:4]
    assert " ".join(kind for kind, _ in found) == first


def test_the_less_is_said_the_less_a_image_needs_to_stand_out() -> None:
    places = [ordered([1, 2], [], [0.85], words).index(("bare", 0)) for words in ("no", QUERY)]
    assert places == [0, 2]


@pytest.mark.parametrize(("words", "weight"), [("a", 2.0), ("coffee", 5 / 3), (QUERY, 1.0)])
def test_without_measurement_a_images_rank_counts_for_words_that_no_text_says(
    words: str, weight: float
) -> None:
    query = "descaling coffee machine"
    found = use_logprobs(
        VectorCalibration(), query, (0, 1), [row(1, words)], [row(0, ""), row(2, "b")]
    )
    assert [weight for _, weight in found] == pytest.approx([1.0, 1.0, weight])


@given(st.text(max_size=40), st.lists(st.text(max_size=40), max_size=4))
def test_what_is_said_is_a_share(query: str, found: list[str]) -> None:
    share = said(query, [row(0, text) for text in found])
    assert 0 <= share <= 1
    assert said(query, [*(row(0, text) for text in found), row(0, query)]) == 1


def test_what_is_said_goes_by_words() -> None:
    assert said("the red circles", [row(0, "A Red circle."), row(1, "the end")]) == pytest.approx(
        2 / 3
    )
    assert said("a", [row(0, "x")]) == 1
    assert said("a", []) == said("word", []) == 0


@pytest.mark.parametrize("mode", ["hybrid", "image"])
def test_questions_find_texts_and_captions_find_images(tmp_path: Path, mode: Mode) -> None:
    """Passages are nearest to image 0, a hub, but stand out less than captions do."""
    folder = tmp_path / "in"
    folder.mkdir()
    pages = [f"machine {page} " + " ".join([f"part{page}"] * 30) for page in range(30)]
    write_pdf(folder / "manual.pdf", pages, (3000, 400))
    for number in range(25):
        Image.new("RGB", (20, 20), (10 * number, 0, 0)).save(folder / f"{number:02}.png")

    def turned(angle: float, height: float) -> tuple[float, float, float]:
        return math.cos(angle), math.sin(angle), height

    def images(image: ImageRef) -> tuple[float, float, float]:
        red = image.rgb().getpixel((0, 0))[0]  # type: ignore[index]
        return turned(red / 40, 0.0) if image.size == (20, 20) else (0.0, 0.0, -1.0)

    def words(text: str) -> tuple[float, float, float]:
        red = next((int(word) for word in text.split() if word.isdigit() and len(word) > 2), None)
        return turned(0.0, 3.0) if red is None else turned(red / 40, 0.0)

    index = PageIndex(tmp_path / "index", ScriptedEmbedder(words, images, dimensions=3))
    index.update([folder])
    hits = index.search("shown in 120", 5, mode=mode)
    assert Path(hits[0].document).name == "12.png"
    hits = index.search("which machine has part7", 5, mode=mode)
    assert (hits[0].page == 8) is (mode == "hybrid")
    assert all(hit.text for hit in hits) is (mode == "hybrid")
