"""Passages: a page's text goes in; the parts that fit a question and a number of tokens come out.

A model's context holds a part of a long page, and the first part is rarely the right one. So the
text is cut into passages at ends of sentences, BM25 ranks them for the question, and the best ones
are kept, in the order of the page.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from llava_tools.retrieval.text import UNSPACED

#: Characters of a passage, about.
PASSAGE_LENGTH = 240
#: Letters from which an answer that a text contains counts as written there.
MIN_WRITTEN_LENGTH = 3
#: Between passages that do not follow each other on the page.
GAP = " … "

_SENTENCE = re.compile(r"(?<=[.!?;:])\s+|(?<=[\u3002\uff01\uff1f\uff1b])")
#: Words; in scripts without spaces between words, single characters.
_TERM = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


def choose_passages(text: str, question: str, tokens: int) -> str:
    """Return the passages of a text that fit a question best, at most `tokens` tokens in all.

    They come in their order in the text; gaps are marked. A text that fits is returned whole.
    """
    if count_tokens(text) <= tokens:
        return text
    passages = split_passages(text)
    scores = score_passages(passages, question)
    chosen: list[int] = []
    left = tokens
    for number in sorted(range(len(passages)), key=lambda number: (-scores[number], number)):
        cost = count_tokens(passages[number]) + count_tokens(GAP)
        if cost <= left:
            left -= cost
            chosen.append(number)
    chosen.sort()
    parts = [
        (" " if chosen[index - 1] == number - 1 else GAP if index else "") + passages[number]
        for index, number in enumerate(chosen)
    ]
    return "".join(parts).strip()


def split_passages(text: str) -> list[str]:
    """Cut a text into passages of about `PASSAGE_LENGTH` characters, at ends of sentences."""
    passages: list[str] = []
    for sentence in _SENTENCE.split(text):
        for part in _wrap(sentence.strip()):
            if passages and len(passages[-1]) + len(part) < PASSAGE_LENGTH:
                passages[-1] += " " + part
            else:
                passages.append(part)
    return passages


def score_passages(passages: Sequence[str], question: str) -> list[float]:
    """Return the BM25 score of each passage for a question, 0 without a common word."""
    documents = [Counter(terms(passage)) for passage in passages]
    frequency = Counter(term for document in documents for term in document)
    wanted = set(terms(question))

    def score(document: Counter[str]) -> float:
        common = (term for term in wanted if term in document)
        return sum(
            math.log(1 + len(passages) / frequency[term])
            * document[term]
            / (document[term] + 0.5 + 0.5 * document.total() / average)
            for term in common
        )

    average = max(1.0, sum(document.total() for document in documents) / max(1, len(documents)))
    return [score(document) for document in documents]


def has_words(text: str, words: str) -> bool:
    """Return whether a text has these words in this order; never for fewer than three letters.

    "No" and "3" are somewhere on most pages, which says nothing.
    """
    needle, haystack = terms(words), terms(text)
    if len("".join(needle)) < MIN_WRITTEN_LENGTH:
        return False
    size = len(needle)
    return any(haystack[at : at + size] == needle for at in range(len(haystack) - size + 1))


def make_answer_snippet(text: str, answer: str, question: str) -> str:
    """Return the passage with the answer that fits the question best; empty without one."""
    passages = [passage for passage in split_passages(text) if has_words(passage, answer)]
    scores = score_passages(passages, question)
    return passages[scores.index(max(scores))] if passages else ""


def terms(text: str) -> list[str]:
    """Return the words of a text, folded: without case and an English plural's s.

    Scripts without spaces between words (Chinese, Japanese, Thai, ...) give single characters.
    """
    return [_fold(term[0]) for term in _TERM.finditer(text.casefold())]


def count_tokens(text: str) -> int:
    """Return about how many tokens a text has; most tokenizers make fewer of it.

    Counted without a tokenizer, since servers need a request for it: three letters or spaces, or
    one other byte, are a token.
    """
    letters = sum(character.isascii() and not _is_single(character) for character in text)
    others = sum(map(_is_single, text))
    wide = len(text.encode("utf-8", "surrogatepass")) - letters - others
    return -(-letters // 3) + others + wide


def _is_single(character: str) -> bool:
    return character.isascii() and not character.isalpha() and character != " "


def _fold(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 else word


def _wrap(sentence: str) -> list[str]:
    """Cut a sentence that is longer than a passage, between words if there are spaces."""
    parts = []
    while len(sentence) > PASSAGE_LENGTH:
        end = sentence.rfind(" ", PASSAGE_LENGTH // 2, PASSAGE_LENGTH)
        end = PASSAGE_LENGTH if end < 0 else end
        parts.append(sentence[:end])
        sentence = sentence[end:].lstrip()
    return [*parts, sentence] if sentence else parts
