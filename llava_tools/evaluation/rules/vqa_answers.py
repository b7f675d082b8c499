"""How short answers are compared with those of several annotators, in VQAv2, VizWiz and TextVQA.

An answer counts in full if three annotators gave it. Each benchmark's authors publish the code that
their figures come from (GT-Vision-Lab/VQA, VizWiz's API, MMF's M4C evaluator); the functions here
return what that code returns, its peculiarities included, since a figure is compared with figures
that have them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from llava_tools.evaluation.rules.arithmetic import add_in_order

_ARTICLES = frozenset(("a", "an", "the"))
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten"
_NUMBERS = {word: str(value) for value, word in enumerate(_NUMBER_WORDS.split())} | {"none": "0"}
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_GROUPED_DIGITS = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
#: The official code passes a flag in the place of a count, so that later full stops stay.
_MOST_FULL_STOPS = 32

_WITH_ONE_APOSTROPHE = """
    ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd
    how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock
    oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's
    something'd something'll that's there'd there're there's they'd they'll they're they've 'twas
    wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll
    who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
_WITH_SEVERAL = """
    couldn't've hadn't've he'd've it'd've mightn't've 'ow's'at she'd've shouldn't've somebody'd've
    someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll
    y'all'd've you'd've
"""
#: What VizWiz's code writes with ' although it writes all other contractions with ’.
_STRAIGHT_IN_VIZWIZ = (
    "ain't aren't can't could've couldn't we've where's who've couldn'tve hadn'tve"
)


def _spellings() -> dict[str, str]:
    """Return contractions by the spellings that lack an apostrophe."""
    table = {word.replace("'", ""): word for word in _WITH_ONE_APOSTROPHE.split()}
    for word in _WITH_SEVERAL.split():
        places = [place for place, letter in enumerate(word) if letter == "'"]
        table |= {word[:place] + word[place + 1 :]: word for place in places}
    return table | {"somebody'd": "somebodyd"}  # the wrong way round in the official table, too


def _curly(text: str) -> str:
    return text if text in _STRAIGHT_IN_VIZWIZ.split() else text.replace("'", "’")


_CONTRACTIONS = _spellings()
_VIZWIZ_CONTRACTIONS = {_curly(key): _curly(value) for key, value in _CONTRACTIONS.items()}


def normalize_answer(text: str) -> str:
    """Return an answer as EvalAI's servers take it, and as TextVQA compares it.

    In lower case, without punctuation and articles, numbers up to ten in digits, contractions with
    their apostrophe.
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return _normalize_words(_strip_marks(_on_one_line(text.strip())), _CONTRACTIONS)


def vqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """Return the accuracy of an answer, 0 to 1, by the rule of VQA.

    Answers are normalized only if the annotators disagree.

    Args:
        answer: The model's.
        truths: The annotators'; >= 1.
    """
    answer, truths = _on_one_line(answer), [_on_one_line(truth) for truth in truths]
    if len(set(truths)) > 1:
        truths = [_normalize_words(_strip_marks(truth), _CONTRACTIONS) for truth in truths]
        answer = _normalize_words(_strip_marks(answer), _CONTRACTIONS)
    return _agreement(answer, truths)


def vizwiz_accuracy(answer: str, truths: Sequence[str]) -> float:
    """Return the accuracy of an answer, 0 to 1, by the rule of VizWiz.

    The annotators' answers are compared as they are: the published ones are normalized.

    Args:
        answer: The model's.
        truths: The annotators'; >= 1.
    """
    marks_stripped = _strip_marks(_on_one_line(answer))
    return _agreement(_normalize_words(marks_stripped, _VIZWIZ_CONTRACTIONS), truths)


def textvqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """Return the accuracy of an answer, 0 to 1, by the rule of TextVQA's M4C evaluator.

    Args:
        answer: The model's.
        truths: The annotators'; >= 1.
    """
    return _agreement(normalize_answer(answer), [normalize_answer(truth) for truth in truths])


def _on_one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _strip_marks(text: str) -> str:
    """Return a text with punctuation removed, or replaced by a space where it joins words."""
    has_grouped_digits = _GROUPED_DIGITS.search(text) is not None
    stripped = text
    for mark in _MARKS:
        is_apart = has_grouped_digits or f"{mark} " in text or f" {mark}" in text
        stripped = stripped.replace(mark, "" if is_apart else " ")
    return _FULL_STOP.sub("", stripped, count=_MOST_FULL_STOPS)


def _normalize_words(text: str, contractions: Mapping[str, str]) -> str:
    """Return a text in lower case, without articles, with digits and contractions."""
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(contractions.get(word, word) for word in words if word not in _ARTICLES)


def _agreement(answer: str, truths: Sequence[str]) -> float:
    """Return the mean over all choices of all annotators but one; three who agree make it 1."""
    matches = sum(truth == answer for truth in truths)
    accuracies = [min(1, (matches - (truth == answer)) / 3) for truth in truths]
    return add_in_order(accuracies) / len(accuracies)
