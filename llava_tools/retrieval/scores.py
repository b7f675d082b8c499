"""Scores that can be compared across queries: how much of a query a page has.

BM25 orders the pages of one query, and does not say whether the best of them is any good. The share
of the query's letters in words that a page has does.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from llava_tools.retrieval.schema import PageMatch
from llava_tools.retrieval.text import letter_pairs, without_unspaced
from llava_tools.retrieval.text_index import without_stop_words

#: A page is found by its text if it has at least this share of the query's letters.
MIN_COVERAGE = 0.25
#: The page with the highest share among so many, from the best on, decides the score of all.
CHECKED_PAGES = 5
#: Length of the runs of letters by which other forms of a word count, and the least share of them.
_RUN, _MIN_RUNS = 4, 0.5


def coverage(query: str, text: str) -> float:
    """Return the share, 0 to 1, of a query's letters that are in words of a text.

    Case and accents do not matter, and stop words do not count beside others. A word of four
    letters or more counts in other forms too, by the share of its runs of four letters that the
    text has, if these are half of them and the first one is among them. In scripts without spaces,
    pairs of letters stand for words.
    """
    query, text = _fold(without_stop_words(query)), _fold(text)
    words, pairs = re.findall(r"\w+", without_unspaced(query)), letter_pairs(query)
    total = sum(map(len, words)) + sum(map(len, pairs))
    spaced = without_unspaced(text)
    present = sum(len(word) * _presence(word, spaced) for word in words)
    present += sum(len(pair) for pair in pairs if pair in text)
    return present / total if total else 0.0


def best_coverage(query: str, rows: Sequence[PageMatch]) -> float:
    """Return the highest coverage of the first pages, 0 without pages."""
    return max((coverage(query, row["text"]) for row in rows[:CHECKED_PAGES]), default=0.0)


def _presence(word: str, text: str) -> float:
    if word in text:
        return float(len(word) >= _RUN or re.search(rf"\b{word}\b", text) is not None)
    if len(word) < _RUN:
        return 0.0
    runs = [word[start : start + _RUN] for start in range(len(word) - _RUN + 1)]
    share = sum(run in text for run in runs) / len(runs)
    return share if share >= _MIN_RUNS and runs[0] in text else 0.0


def _fold(text: str) -> str:
    """Return a text in lower case and without accents."""
    text = text.casefold()
    if text.isascii():
        return text
    parted = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", re.sub("[\u0300-\u036f]", "", parted))
