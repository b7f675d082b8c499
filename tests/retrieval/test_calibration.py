"""How far image vectors are trusted: by what they know of an index's own pages."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools.images import ImageRef
from llava_tools.retrieval import PageIndex
from llava_tools.retrieval.calibration import FLOOR, WORDS, VectorCalibration, kept, passage, weight
from llava_tools.retrieval.search import Mode
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_pdf

PAGES = 30


def unit(angle: float) -> tuple[float, float]:
    return math.cos(angle), math.sin(angle)


def test_a_perfect_ranking_weighs_one_and_chance_next_to_nothing() -> None:
    pages = [unit(math.pi * page / PAGES) for page in range(PAGES)]
    assert weight(pages, pages, range(PAGES)) == 1.0
    same = [unit(1.0)] * PAGES
    assert weight(same, pages, range(PAGES)) == FLOOR  # one page is nearest to every query
    assert weight(pages, same, range(PAGES)) == FLOOR  # all pages look alike
    mixed = random.Random(1).sample(pages, PAGES)
    assert weight(mixed, pages, range(PAGES)) == FLOOR


def test_between_both_it_grows() -> None:
    noise = random.Random(2)
    pages = [unit(math.pi * page / PAGES) for page in range(PAGES)]
    weights = []
    for blur in (0.2, 0.5, 1.0):
        queries = [unit(math.pi * p / PAGES + noise.gauss(0, blur)) for p in range(PAGES)]
        weights.append(weight(queries, pages, range(PAGES)))
    assert 1 > weights[0] > weights[1] > weights[2] > FLOOR


def test_a_passage_is_short_and_from_the_middle() -> None:
    assert passage(" ".join(map(str, range(100)))).split()[0] == str(50 - WORDS // 2)
    assert passage("two words") == "two words"


def texts(tmp_path: Path) -> Path:
    """Pages that all say coffee, most often on the first, and each its number in many words."""
    numbered = [f"{' '.join([f'n{page}'] * 30)} coffee" for page in range(PAGES)]
    numbered[0] += " coffee" * 9
    return write_pdf(tmp_path / "in.pdf", numbered, (3000, 400))


@pytest.mark.parametrize("sees", [True, False])
def test_hybrid_search_uses_what_was_measured(tmp_path: Path, sees: bool) -> None:
    """An embedder that sees numbers brings page 6 up; one that is blind leaves it to the text."""
    seen: list[ImageRef] = []

    def images(image: ImageRef) -> tuple[float, float]:
        seen.append(image)
        return unit(math.pi * (len(seen) - 1) / PAGES)

    def words(text: str) -> tuple[float, float]:
        number = next((int(word[1:]) for word in text.split() if word[0] == "n"), 5)
        return unit(math.pi * (number if sees or text == "coffee" else -7 * number % 13) / PAGES)

    index = PageIndex(tmp_path / "index", ScriptedEmbedder(words, images))
    index.update([texts(tmp_path)])
    assert (index.trust.images == 1.0) is sees
    assert (index.trust.images == FLOOR) is not sees
    ranks = {
        mode: [hit.page for hit in index.search("coffee", PAGES, mode=mode)]
        for mode in get_args(Mode)
    }
    assert (ranks["picture"][0], ranks["text"][0]) == (6, 1)
    if sees:
        assert ranks["hybrid"].index(6) < ranks["text"].index(6)
    else:
        assert ranks["hybrid"][:5] == ranks["text"][:5]


def test_it_is_measured_again_when_pages_change(tmp_path: Path) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([texts(tmp_path)])
    assert index.trust.pages == PAGES
    file = tmp_path / "index" / "trust.json"
    file.write_text('{"pictures": 0.5, "pages": 30}')  # as it was before leads were measured
    assert kept(tmp_path / "index") == VectorCalibration(0.5)
    file.unlink()
    assert PageIndex(tmp_path / "index").trust == VectorCalibration()
    index.update([tmp_path / "in.pdf"])
    assert kept(tmp_path / "index") == index.trust
    assert index.trust.pages == PAGES


leads = st.lists(st.floats(0, 1), min_size=1, max_size=20)
cosines = st.lists(st.floats(-1, 1), max_size=9).map(lambda near: sorted(near, reverse=True))


@given(leads, cosines, st.floats(0, 1), st.floats(0, 1))
def test_the_less_may_be_wrong_the_fewer_stand_out(
    found: list[float], near: list[float], one: float, other: float
) -> None:
    trust = VectorCalibration(leads=tuple(sorted(found, reverse=True)), middle=(0.0, 0.0))
    few, many = (trust.standing((0, 2), near, wrong) for wrong in sorted((one, other)))
    assert few <= many
    # No more passages have such a lead than were said to be allowed.
    for cosine in near[:few]:
        assert sum(lead >= cosine for lead in found) <= min(one, other) * len(found)


def test_a_lead_is_over_what_is_usual_for_the_query() -> None:
    trust = VectorCalibration(leads=(0.2,), middle=(0.5, 0.0))
    assert trust.standing((3, 0), [0.8, 0.7, 0.6], 0) == 1  # 0.5 is the mean image's
    assert trust.standing((0, 3), [0.8, 0.7, 0.6], 0) == 3  # whose cosine is 0 here
