"""Lone surrogates become U+FFFD; all other text stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools.core.unicode import well_formed

SURROGATES = st.characters(categories=["Cs"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("\ud800", "\ufffd"),
        ("a\udfffb", "a\ufffdb"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("caf\udce9", "caf\ufffd"),  # an argument in Latin-1
        ("\ud83d\ude00", "😀"),
        ("😀\ud83d", "😀\ufffd"),
        ("\ufeffa\ud800", "\ufeffa\ufffd"),
    ],
)
def test_lone_surrogates_are_replaced(text: str, expected: str) -> None:
    assert well_formed(text) == expected


@given(st.text())
def test_text_without_surrogates_stays_as_it_is(text: str) -> None:
    assert well_formed(text) == text


@given(st.text(st.one_of(SURROGATES, st.characters(categories=["L", "Cs", "So"]))))
def test_the_result_can_be_encoded(text: str) -> None:
    assert well_formed(text).encode().decode() == well_formed(well_formed(text))
