"""Claims: each sentence of an answer with the passage that supports it, and its place."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

from llava_tools.errors import DocumentError
from llava_tools.retrieval.answers import Citation, DocumentAnswer
from llava_tools.retrieval.index import PageIndex
from llava_tools.retrieval.passages import split_passages, terms
from llava_tools.retrieval.search import Hit
from llava_tools.tools.geometry import Box

_log = logging.getLogger(__name__)

#: The least share of a sentence's words that a passage which supports it has.
MIN_SHARE = 0.5
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n+")


def find_claims(index: PageIndex, answer: DocumentAnswer) -> tuple[Citation, ...]:
    """Return a citation for each sentence of an answer with sources.

    Its snippet and box are those of the passage with most of the sentence's words. Without one that
    has half of them, they are empty, and the page is the one that was asked.
    """
    sentences = [sentence.strip() for sentence in _SENTENCE.split(answer.text)]
    return tuple(_claim(index, answer, sentence) for sentence in sentences if sentence)


def locate_text(index: PageIndex, hit: Hit, text: str) -> Box | None:
    """Return the place of a text on a page; None also if its file has vanished meanwhile."""
    try:
        return index.locate(hit, text)
    except DocumentError as error:
        _log.warning("no box on page %s: %s", hit.page, error.message)
        return None


def _claim(index: PageIndex, answer: DocumentAnswer, sentence: str) -> Citation:
    words = set(terms(sentence))
    passages = [
        (len(words.intersection(terms(passage))) / len(words), passage, citation)
        for citation in answer.citations
        for passage in split_passages(citation.hit.text)
        if words
    ]
    share, passage, source = max(
        passages, key=lambda candidate: candidate[0], default=(0.0, "", answer.citations[0])
    )
    if share < MIN_SHARE:
        return replace(answer.citations[0], answer=sentence, snippet="", box=None)
    box = locate_text(index, source.hit, passage)
    return replace(source, answer=sentence, snippet=passage, box=box)
