"""The rules by which short answers are compared with those of several annotators.

`data/{vqav2,vizwiz,textvqa}.jsonl` have answers and truths with what the official code makes of
them: GT-Vision-Lab/VQA, VizWiz's API, and MMF's M4C evaluator, run by Python 3.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools.evaluation.rules.vqa_answers import (
    normalize_answer,
    textvqa_accuracy,
    vizwiz_accuracy,
    vqa_accuracy,
)
from tests.evaluation.recorded import read_recorded

ANNOTATORS = 10
RULES = [vqa_accuracy, vizwiz_accuracy, textvqa_accuracy]
TRUTHS = st.lists(st.text(max_size=12), min_size=1, max_size=ANNOTATORS)


@pytest.mark.parametrize(("name", "rule"), [("vqav2", vqa_accuracy), ("vizwiz", vizwiz_accuracy)])
def test_accuracies_equal_those_of_the_official_code(name: str, rule: object) -> None:
    lines, _ = read_recorded(name)

    assert callable(rule)
    assert len(lines) >= 200
    for line in lines:
        assert round(100 * rule(line["answer"], line["truths"]), 2) == line["accuracy"], line
        submitted = 100 * rule(line["submitted"], line["truths"])
        assert round(submitted, 2) == line["accuracy_of_submitted"], line


def test_accuracies_of_textvqa_equal_those_of_the_official_code() -> None:
    lines, _ = read_recorded("textvqa")

    assert len(lines) >= 200
    for line in lines:
        accuracy = textvqa_accuracy(line["answer"], line["truths"])
        assert accuracy == pytest.approx(line["accuracy"], abs=1e-12), line


@pytest.mark.parametrize("name", ["vqav2", "vizwiz"])
def test_normalized_answers_equal_those_of_the_official_code(name: str) -> None:
    lines, _ = read_recorded(name)

    assert [normalize_answer(line["answer"]) for line in lines] == [
        line["submitted"] for line in lines
    ]


@pytest.mark.parametrize("name", ["vqav2", "vizwiz", "textvqa"])
def test_recorded_answers_have_each_degree_of_agreement(name: str) -> None:
    lines, _ = read_recorded(name)

    scale = 1 if name == "textvqa" else 100
    assert {round(line["accuracy"] / scale, 6) for line in lines} == {0, 0.3, 0.6, 0.9, 1}


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("Yes.", "yes"),
        ("The red car", "red car"),
        ("two", "2"),
        ("none", "0"),
        ("eleven", "eleven"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("somebody'd", "somebodyd"),  # a peculiarity of the official table
        ("man's hat", "man 's hat"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("3.", "3"),
        ("north-west", "north west"),
        ("north - west", "north west"),
        ("north- west-side", "north westside"),
        ("what?", "what"),
        ("red\nblue", "red blue"),
        ("", ""),
        ("a", ""),
        ("a." * 33, "a" * 32 + "a."),  # no more than 32 full stops go
    ],
)
def test_answers_are_normalized(answer: str, normal: str) -> None:
    assert normalize_answer(answer) == normal


def test_digits_grouped_by_a_comma_make_all_punctuation_vanish_in_vqa() -> None:
    truths = ["10000 20000"] * 9 + ["other"]

    assert vqa_accuracy("10,000 20-000", truths) == 1
    assert vqa_accuracy("10000 20-000", truths) == 0


def test_vqa_normalizes_only_if_annotators_disagree() -> None:
    assert vqa_accuracy("Yes", ["yes"] * 10) == 0
    assert vqa_accuracy("Yes", ["yes"] * 9 + ["no"]) == 1


def test_vizwiz_compares_truths_as_they_are() -> None:
    assert vizwiz_accuracy("the can", ["the can"] * 10) == 0
    assert vizwiz_accuracy("the can", ["can"] * 10) == 1
    assert vizwiz_accuracy("dont", ["don’t"] * 10) == 1
    assert vizwiz_accuracy("cant", ["can't"] * 10) == 1


@pytest.mark.parametrize(("votes", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1)])
@pytest.mark.parametrize("rule", RULES)
def test_accuracy_is_the_mean_over_all_but_one_annotator(
    rule: object, votes: int, accuracy: float
) -> None:
    assert callable(rule)
    truths = ["blue"] * votes + ["green"] * (ANNOTATORS - votes)
    assert rule("blue", truths) == pytest.approx(accuracy)


@given(st.text())
def test_any_text_is_normalized(text: str) -> None:
    normal = normalize_answer(text)

    assert normal == " ".join(normal.split())
    assert not set(normal.split()) & {"a", "an", "the", "one", "none", "ten"}


@given(st.text(alphabet="abehnoist 01.,'-?!\n", max_size=40))
def test_what_is_normal_stays_so(text: str) -> None:
    normal = normalize_answer(text)
    if "'s" not in normal:  # a contraction such as that's would be parted
        assert normalize_answer(normal) == normal


@pytest.mark.parametrize("rule", RULES)
@given(answer=st.text(max_size=12), truths=TRUTHS, data=st.data())
def test_accuracy_of_any_text_is_a_share(
    rule: object, answer: str, truths: list[str], data: st.DataObject
) -> None:
    assert callable(rule)
    accuracy = rule(answer, truths)

    assert 0 <= accuracy <= 1
    shuffled = data.draw(st.permutations(truths))
    assert rule(answer, shuffled) == pytest.approx(accuracy, abs=1e-12)
