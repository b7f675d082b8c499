"""`VectorCalibration`: the image weight and the noise floor of an index's own pages."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import get_args

import pytest

from llava_tools.images import ImageRef
from llava_tools.retrieval import PageIndex
from llava_tools.retrieval.calibration import (
    PASSAGE_WORDS,
    Noise,
    VectorCalibration,
    calibrate,
    image_weight,
    passage,
)
from llava_tools.retrieval.schema import DocumentRow, IndexMetadata, PageRow
from llava_tools.retrieval.search import SearchMode
from llava_tools.retrieval.store import Store
from llava_tools.retrieval.writable_store import WritableStore
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_pdf

PAGES = 30


def unit(angle: float) -> tuple[float, float]:
    return math.cos(angle), math.sin(angle)


def test_image_weight_is_one_for_a_perfect_ranking_and_zero_for_chance() -> None:
    pages = [unit(math.pi * page / PAGES) for page in range(PAGES)]
    assert image_weight(pages, pages, range(PAGES)) == 1.0
    same = [unit(1.0)] * PAGES
    assert image_weight(same, pages, range(PAGES)) == 0  # one page is nearest to all
    assert image_weight(pages, same, range(PAGES)) == 0  # all pages look alike
    shuffled = random.Random(1).sample(pages, PAGES)
    assert image_weight(shuffled, pages, range(PAGES)) == 0


def test_image_weight_falls_with_noise() -> None:
    noise = random.Random(2)
    pages = [unit(math.pi * page / PAGES) for page in range(PAGES)]
    weights = []
    for blur in (0.03, 0.1, 0.2, 1.0):
        queries = [unit(math.pi * page / PAGES + noise.gauss(0, blur)) for page in range(PAGES)]
        weights.append(image_weight(queries, pages, range(PAGES)))
    assert 1 > weights[0] > weights[1] > weights[2] > weights[3] == 0


def test_passage_is_short_and_from_the_middle() -> None:
    assert passage(" ".join(map(str, range(100)))).split()[0] == str(50 - PASSAGE_WORDS // 2)
    assert passage("two words") == "two words"


def write_texts(tmp_path: Path) -> Path:
    """Pages that contain coffee, most often on the first, and each its number in many words."""
    numbered = [f"{' '.join([f'n{page}'] * 30)} coffee" for page in range(PAGES)]
    numbered[0] += " coffee" * 9
    return write_pdf(tmp_path / "in.pdf", numbered, (3000, 400))


@pytest.mark.parametrize("reliable", [True, False])
def test_hybrid_search_uses_the_image_weight(tmp_path: Path, reliable: bool) -> None:
    """Reliable vectors move page 6 up; with others, the texts alone decide."""
    embedded: list[ImageRef] = []

    def images(image: ImageRef) -> tuple[float, float]:
        embedded.append(image)
        return unit(math.pi * (len(embedded) - 1) / PAGES)

    def texts(text: str) -> tuple[float, float]:
        number = next((int(word[1:]) for word in text.split() if word[0] == "n"), 5)
        exact = reliable or text == "coffee"
        return unit(math.pi * (number if exact else -7 * number % 13) / PAGES)

    index = PageIndex(tmp_path / "index", ScriptedEmbedder(texts, images))
    index.update([write_texts(tmp_path)])
    assert (index.calibration.image_weight == 1.0) is reliable
    assert (index.calibration.image_weight == 0) is not reliable
    ranks = {
        mode: [hit.page for hit in index.search("coffee", PAGES, mode=mode)]
        for mode in get_args(SearchMode)
    }
    assert (ranks["image"][0], ranks["text"][0]) == (6, 1)
    if reliable:
        assert ranks["hybrid"].index(6) < ranks["text"].index(6)
    else:
        assert ranks["hybrid"] == ranks["text"]


def test_update_measures_again_if_the_calibration_is_missing_or_incomplete(tmp_path: Path) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([write_texts(tmp_path)])
    assert index.calibration.pages == PAGES
    # Without a noise floor.
    index.store.values.put("calibration", '{"image_weight": 0.5, "pages": 30}')
    assert VectorCalibration.load(index.store) == VectorCalibration(0.5)
    for damaged in ("", "[", "[]", "null", '{"texts": 1}', '{"texts": {"mean": "x"}}'):
        index.store.values.put("calibration", damaged)
        assert PageIndex(tmp_path / "index").calibration == VectorCalibration()
    index.update([tmp_path / "in.pdf"])
    assert VectorCalibration.load(index.store) == index.calibration
    assert index.calibration.pages == PAGES


def test_evidence_is_the_margin_over_the_mean_cosine_in_deviations_of_the_noise() -> None:
    noise = Noise(0.2, 0.1, (0.5, 0.0))
    near = pytest.approx
    assert noise.evidence((3, 0), 0.7) == near(0, abs=1e-3)  # the mean cosine is 0.5
    assert noise.evidence((3, 0), 1.0) == near(1, abs=1e-3)
    assert noise.evidence((0, 3), 0.5) == near(1, abs=1e-3)  # the mean cosine is 0
    assert noise.evidence((0, 3), 0.05) == near(-0.5, abs=1e-3)


def test_any_margin_above_noise_that_is_always_the_same_is_certain() -> None:
    noise = Noise(0.2, 0.0, (0.5, 0.0))
    assert noise.evidence((0, 3), 0.21) > 1
    assert -1 < noise.evidence((0, 3), 0.2) <= 0


def test_noise_is_of_pages_that_are_not_right_for_a_passage(tmp_path: Path) -> None:
    """Of pages with a text without the passage's own, and of pages without a text."""
    store = WritableStore(tmp_path / "index", IndexMetadata("m", "c", 3))
    text = "{0} " * (2 * PASSAGE_WORDS + 1)
    angles = [0.1 * page for page in range(PAGES)]
    rows = [
        PageRow("d", page, "", 9, 9, text.format(f"n{page}"), b"", (*unit(angle), 0.0))
        for page, angle in enumerate(angles)
    ]
    rows += [PageRow("e", page, "", 9, 9, "", b"", (0.0, 0.6, 0.8)) for page in range(PAGES)]
    store.add_pages(rows)
    store.put_documents([DocumentRow(f"{name}.pdf", name, PAGES, True, True) for name in "de"])
    store.clean_up()

    def texts(query: str) -> tuple[float, float, float]:
        return (*unit(angles[int(query.split()[0][1:])]), 0.0)

    measured = calibrate(Store(tmp_path / "index"), ScriptedEmbedder(texts, dimensions=3))
    assert measured.image_weight == 1.0
    assert measured.texts is not None
    assert measured.images is not None
    x, y = (sum(values) / PAGES for values in zip(*map(unit, angles), strict=True))
    assert measured.texts.mean_vector == pytest.approx((x, y, 0), abs=1e-5)
    assert measured.images.mean_vector == pytest.approx((0, 0.6, 0.8), abs=1e-5)
    # The nearest wrong page is 0.1 away.
    margins = [math.cos(0.1) - math.cos(angle) * x - math.sin(angle) * y for angle in angles]
    assert measured.texts.mean == pytest.approx(sum(margins) / PAGES, abs=1e-4)
    assert measured.images.mean == pytest.approx(0, abs=1e-4)  # the pages are all alike
    assert measured.images.deviation == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("rank", "weight"), [(0, 1.0), (1, 0.0281), (2, 0.0), (5, 0.0)])
def test_weight_falls_much_faster_than_the_quality_of_the_ranking(rank: int, weight: float) -> None:
    """Queries with their right page at the same rank, from 0, of eleven."""
    pages = [[math.cos(angle / 10), math.sin(angle / 10)] for angle in range(11)]
    assert image_weight([[1.0, 0.0]] * 20, pages, [rank] * 20) == pytest.approx(weight, abs=1e-4)


def test_texts_without_spaces_are_measured(tmp_path: Path) -> None:
    store = WritableStore(tmp_path / "index", IndexMetadata("m", "c", 2))
    vectors = [unit(page) for page in range(PAGES)]
    store.add_pages(
        [
            PageRow("d", page, "", 9, 9, "石灰除去は毎月行う" * 40, b"", vectors[page])
            for page in range(PAGES)
        ]
    )
    store.put_documents([DocumentRow("d.pdf", "d", PAGES, True, True)])
    store.clean_up()
    measured = calibrate(Store(tmp_path / "index"), ScriptedEmbedder(lambda text: unit(0)))
    assert measured.image_weight == 0  # all passages are alike, so by chance
