"""One order out of two rankings: pages by what they say, and by what they show.

Their numbers cannot be compared, their ranks can: reciprocal rank fusion (Cormack et al. 2009).

Pages with a text are in both rankings, and their vectors have the weight that they earned on this
index (`trust`). Pages without one have only their vectors, and neither ranking tells whether words
are about an image or about a text. Two things do: how far the image stands out among images,
more than for passages that are certainly about a text, and how much of the words the texts say. The
less they say, the less it needs to stand out. Such an image's one rank counts for both: it comes
between the texts, or before them where they say no more than half of the words. The other images
come behind what the texts found. Where nothing was measured, the one rank of each image counts
the more for both the less of the words the texts say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from llava_tools.retrieval.calibration import FLOOR, VectorCalibration

#: A page as it was found: what it has in the index, and `_distance` where its vector was searched.
Row = dict[str, Any]
#: Rows, best first, and what they weigh.
Ranking = tuple[Sequence[Row], float]

#: What keeps the first ranks from deciding alone, as in the paper.
DAMPING = 60
#: For which share of passages an image may stand out as much, if no text says any of the words.
WRONG = 0.25
#: Up to which share of the words, said by a text, images that stand out come before it.
HALF = 0.5
#: Texts that are looked through for the words, from the best one on.
READ = 5


def use_logprobs(
    trust: VectorCalibration,
    query: str,
    vector: Sequence[float],
    texts: Sequence[Row],
    near: Sequence[Row],
) -> list[Ranking]:
    """Return the rankings of a hybrid search with their weights; a page is in two at the most.

    Args:
        trust: What the vectors are worth.
        query: What is looked for.
        vector: Of the query.
        texts: Pages that say some of its words, best first.
        near: Pages whose vectors are near to it, nearest first.
    """
    pages = [row for row in near if row["text"]]
    bare = [row for row in near if not row["text"]]
    share = said(query, texts[:READ])
    if not trust.leads:  # nothing was measured
        return [(texts, 1.0), (pages, trust.images), (bare, 1 + trust.images * (1 - share))]
    many = trust.standing(vector, [1 - row["_distance"] for row in bare], WRONG * (1 - share))
    # Half the weight puts texts behind all images that stand out, the full one between them.
    heard = 0.5 if many and share <= HALF else 1.0
    found = [(texts, heard), (pages, heard * trust.images)]
    return [*found, (bare[:many], 1 + trust.images), (bare[many:], FLOOR)]


def fused(
    rankings: Sequence[Ranking], most: int
) -> tuple[dict[tuple[str, int], float], dict[tuple[str, int], Row]]:
    """Return each page's reciprocal rank score, 1 at most, and its row.

    Args:
        rankings: What is fused.
        most: What a page's weights sum up to at most.
    """
    scores: dict[tuple[str, int], float] = {}
    rows: dict[tuple[str, int], Row] = {}
    for ranking, weight in rankings:
        for rank, row in enumerate(ranking, start=1):
            page = (row["digest"], row["page"])
            rows[page] = row
            share = weight * (DAMPING + 1) / (DAMPING + rank) / most
            scores[page] = scores.get(page, 0.0) + share
    return scores, rows


def said(query: str, rows: Sequence[Row]) -> float:
    """Return the largest share, 0 to 1, of a query's words that one of these pages says.

    Short words say little and are left out; where no others are, a page that was found says all.
    """
    wanted = _words(query)
    if not wanted:
        return float(bool(rows))
    return max((len(wanted & _words(row["text"])) / len(wanted) for row in rows), default=0.0)


def _words(text: str) -> set[str]:
    """Return words of more than two letters, plurals as singulars: enough to tell what is said."""
    found = re.findall(r"\w{3,}", text.lower())
    return {word.removesuffix("s") for word in found}
