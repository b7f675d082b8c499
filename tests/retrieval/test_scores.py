"""Coverage: the share of a query's letters that are in words of a page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools.retrieval.scores import best_coverage, coverage


@pytest.mark.parametrize(
    ("query", "text", "share"),
    [
        ("coffee machine", "A Coffee MACHINE.", 1),
        ("cafe", "un café", 1),
        ("it", "the title", 0),
        ("it", "how it works", 1),
        ("descaling", "descale it", 3 / 6),
        ("Verwaltung", "Paketverwaltung", 1),
        ("ab coffee", "coffee", 6 / 8),
        ("石灰除去", "石灰の除去", 2 / 3),
        ("USB 設定", "設定", 2 / 5),
        ("wombat", "combat", 0.0),
        ("?", "what?", 0),
        ("how is the pump", "a pump", 1),
        ("how is the pump", "how is the fan", 0),
        ("word", "", 0),
    ],
)
def test_coverage_is_the_share_of_letters(query: str, text: str, share: float) -> None:
    assert coverage(query, text) == pytest.approx(share)


@given(st.text(max_size=40), st.text(max_size=80))
def test_coverage_is_a_share_and_whole_for_the_query_itself(query: str, text: str) -> None:
    assert 0 <= coverage(query, text) <= 1
    assert coverage(query, f"{query} {text}") in (0, pytest.approx(1))


def test_best_coverage_is_that_of_the_first_pages() -> None:
    rows = [{"text": text} for text in ("coffee", "coffee tea", *"abc", "coffee tea milk")]
    assert best_coverage("coffee tea milk", rows) == pytest.approx(9 / 13)
    assert best_coverage("coffee", []) == 0
