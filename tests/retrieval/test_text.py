"""Text layers: parted words are mended when text is stored and when it is looked up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools.retrieval.text import (
    clean_text,
    find_span,
    heading_key,
    headings,
    letter_pairs,
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a multi\ufffeway valve", "a multiway valve"),
        ("a multi\x02way valve", "a multiway valve"),
        ("a multi\xad\r\nway valve", "a multiway valve"),
        ("multi\xadway", "multiway"),
        ("a multi-\r\nway valve", "a multiway valve"),
        ("a multi\u2010\n way valve", "a multiway valve"),
        ("Makefile\ufffeDateien", "Makefile-Dateien"),
        ("1-\r\nJan-1970", "1-Jan-1970"),
        ("the gpm(8)\r\ndaemon", "the gpm(8) daemon"),
        ("Pakete, die -\r\nobwohl", "Pakete, die - obwohl"),
        ("well-known  \r\n\tfact ", "well-known fact"),
        ("e\ufb03cient", "efficient"),
        ("\ufffealone\xad", "alone"),
        ("", ""),
    ],
)
def test_words_parted_at_line_ends_are_mended(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@pytest.mark.parametrize(
    ("raw", "words", "place"),
    [
        ("A multi\ufffeway  valve", "multiway valve", "multi\ufffeway  valve"),
        ("A Multi-\r\nway valve", "MULTIWAY", "Multi-\r\nway"),
        ("two\r\nlines", "two lines", "two\r\nlines"),
        ("concatenate cat", "cat", "cat"),
        ("毎月の石灰除去は必要", "石灰除去", "石灰除去"),
        ("the e\ufb03cient one", "efficient", "e\ufb03cient"),
        ("(x)", "(x)", "(x)"),
    ],
)
def test_words_are_found_in_the_raw_text(raw: str, words: str, place: str) -> None:
    span = find_span(raw, words)
    assert span is not None
    assert raw[slice(*span)] == place


def test_a_part_of_a_word_is_not_found() -> None:
    assert find_span("concatenate", "cat") is None
    assert find_span("text", " ") is None
    assert find_span("", "text") is None


@given(st.text(max_size=80))
def test_clean_text_is_single_spaced_and_stays_as_it_is(raw: str) -> None:
    clean = clean_text(raw)
    assert clean == " ".join(clean.split())
    assert not set(clean) & set("\ufffe\x02\xad")
    assert clean_text(clean) == clean
    for word in clean.split()[:1]:
        assert find_span(raw, clean) is not None, word


def test_pairs_of_letters_of_scripts_without_spaces() -> None:
    assert letter_pairs("USB の設定, 커피 머신 x 水") == ["の設", "設定", "커피", "머신", "水"]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("3 Arrays", "arrays"),
        ("2.1.3  Set datafile fortran", "set_datafile_fortran"),
        ("XIV Options", "options"),
        ("Überschrift: der Pager", "überschrift_der_pager"),
        ("Arrays . . . . . . 18", ""),
        ("Arrays........18", ""),
        ("7", "7"),
        ("", ""),
    ],
)
def test_a_heading_is_one_word_without_its_number(line: str, key: str) -> None:
    assert heading_key(line) == key


def test_headings_are_the_short_lines() -> None:
    text = f"3 Arrays\r\nArrays . . . . 18\r\n{'long words ' * 9}\r\nA new\r\nArrays"
    assert headings(text) == "arrays new"
