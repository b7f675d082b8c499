"""Passages: the best parts of a page's text for a question, within a number of tokens."""

from __future__ import annotations

import pytest

from llava_tools.retrieval.passages import (
    GAP,
    PASSAGE_LENGTH,
    choose_passages,
    count_tokens,
    score_passages,
    split_passages,
)

FILLER = "The valve is closed before the lid comes off. " * 60


@pytest.mark.parametrize(
    ("fact", "question"),
    [
        ("Descale the boiler every 90 days.", "How often is the boiler descaled?"),
        ("Die Pumpe läuft mit 3.200 Umdrehungen.", "Wie schnell läuft die Pumpe?"),
        ("水垢应每九十天清除一次。", "多久清除一次水垢"),
        ("水アカは九十日ごとに取り除いてください。", "水アカはいつ取り除きますか"),
        ("ทำความสะอาดหม้อต้มทุกเก้าสิบวัน", "ทำความสะอาดหม้อต้มเมื่อไร"),
    ],
)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_the_passage_that_answers_is_chosen_wherever_it_stands(
    fact: str, question: str, place: float
) -> None:
    cut = FILLER.index(".", int(place * (len(FILLER) - 2))) + 2
    text = f"{FILLER[:cut]}{fact} {FILLER[cut:]}"
    chosen = choose_passages(text, question, 200)
    assert fact in chosen
    assert count_tokens(chosen) <= 200
    assert fact not in text[: len(chosen)] or place == 0.0  # the beginning would not have it


def test_a_text_that_fits_stays_whole_and_gaps_are_marked() -> None:
    text = "Alpha starts here. " + FILLER + "Omega ends here."
    assert choose_passages("Alpha. Omega.", "?", 50) == "Alpha. Omega."
    chosen = choose_passages(text, "alpha omega", 190)
    assert chosen.startswith("Alpha starts here.")
    assert chosen.endswith("Omega ends here.")
    assert GAP in chosen


def test_passages_have_all_of_the_text_and_a_bounded_length() -> None:
    text = FILLER + "x" * 1000 + " " + "字" * 500
    passages = split_passages(text)
    assert "".join("".join(passages).split()) == "".join(text.split())
    assert max(map(len, passages)) <= PASSAGE_LENGTH
    assert choose_passages("x" * 9000, "x", 10) == ""


def test_rare_words_of_the_question_weigh_more_than_common_ones() -> None:
    passages = ["the pump and the valve", "the boiler", "the lid", "the pipe"]
    scores = score_passages(passages, "the boiler")
    assert scores.index(max(scores)) == 1
    assert score_passages(["a", "b"], "zebra") == [0, 0]


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("abc def", 3), ("1.5", 3), ("字", 3), ("ä", 2), ("\ud800", 3)]
)
def test_tokens_are_counted_without_a_tokenizer(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens
