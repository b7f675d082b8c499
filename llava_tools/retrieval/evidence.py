"""Evidence: how much of a question the texts of the pages have, to say "not in these documents".

A model answers from any page, also from one that has nothing to do with the question. So before it
is asked, the words of the question are looked for in the passages of its pages. Rare words weigh
more than common ones, and a word that no page has weighs most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from llava_tools.retrieval.calibration import MIN_PAGES
from llava_tools.retrieval.index import PageIndex
from llava_tools.retrieval.passages import split_passages, terms
from llava_tools.retrieval.search import Hit

#: The least evidence: 35 of the 36 `tuning` questions of `benchmarks.unanswerable` have it, and a
#: third of the same questions without the manual that answers them.
MIN_EVIDENCE = 0.36
#: Pages in which the words of the question are counted.
COUNTED_PAGES = 50


def text_evidence(index: PageIndex, question: str, hits: Sequence[Hit]) -> float:
    """Return the share, 0 to 1, of the question that the best passage of these pages has.

    A passage is two neighbouring ones of `split_passages`, since sentences refer to those before.
    With fewer than `MIN_PAGES` in the index it is 1, since common words are not known then.
    """
    total = index.store.count()
    if total < MIN_PAGES:
        return 1.0
    words = set(terms(question))
    found = index.search(question, COUNTED_PAGES, mode="text", min_coverage=0)
    pages = [set(terms(hit.text)) for hit in found]
    weights = {}
    for word in words:
        frequency = sum(word in page for page in pages)
        weights[word] = math.log(1 + (total - frequency + 0.5) / (frequency + 0.5))
    shares = [
        sum(weights[word] for word in words.intersection(terms(passage))) / sum(weights.values())
        for hit in hits
        for passage in _passages(hit.text)
    ]
    return max(shares, default=0.0)


def _passages(text: str) -> list[str]:
    parts = split_passages(text)
    return [f"{part} {following}" for part, following in pairwise(parts)] or parts
