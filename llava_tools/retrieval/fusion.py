"""Hybrid search: fuses the ranking by text and the ranking by image vectors into one.

Scores of the two cannot be compared, ranks can: reciprocal rank fusion (Cormack et al. 2009).

Pages with a text are in both rankings. Their vectors have the weight that was measured on this
index (`calibration`). Pages without a text (images, for short) have only their vectors, and neither
ranking shows whether the query means an image or a text. So images above the noise floor are ranked
once with the weight of both rankings. They come between the texts, or before them if the texts
contain at most half of the query's words; a smaller share of the words lowers the floor. The other
images come after the texts. Without a measurement, the weight of the images grows as that share
falls.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llava_tools.retrieval.calibration import MIN_WEIGHT, VectorCalibration
from llava_tools.retrieval.schema import PageMatch
from llava_tools.retrieval.text import letter_pairs, without_unspaced

#: Pages, best first, and the ranking's weight.
Ranking = tuple[Sequence[PageMatch], float]
#: Digest of a document and number of a page.
PageKey = tuple[str, int]

#: Keeps the first ranks from deciding alone; the value of the paper.
DAMPING = 60
#: Share of passages whose noise may exceed the floor if the texts have none of the query's words.
FALSE_POSITIVE_RATE = 0.25
#: Images above the floor come before the texts if these have at most this share of the words.
FEW_WORDS = 0.5
#: An image is near to a query if its margin exceeds the noise of all but this share of passages.
NEAR_RATE = 0.5
#: Number of texts, from the best on, in which the words are looked for.
CHECKED_TEXTS = 5


def weighted_rankings(
    calibration: VectorCalibration,
    query: str,
    vector: Sequence[float],
    texts: Sequence[PageMatch],
    nearest: Sequence[PageMatch],
) -> list[Ranking]:
    """Return the rankings of a hybrid search with their weights; a page is in at most two.

    `texts` are the pages whose text has some of the query's words, best first; `nearest` those
    whose vectors are nearest to the query's, nearest first.
    """
    matched = {(row["digest"], row["page"]) for row in texts}
    pages = [row for row in nearest if row["text"]]
    if calibration.image_weight <= MIN_WEIGHT:  # vectors by chance order pages and find none
        pages = [row for row in pages if (row["digest"], row["page"]) in matched]
    images = [row for row in nearest if not row["text"]]
    share = word_share(query, texts[:CHECKED_TEXTS])
    weight = calibration.image_weight
    if not calibration.noise:
        return [(texts, 1.0), (pages, weight), (images, 1 + weight * (1 - share))]
    cosines = [1 - row["_distance"] for row in images]
    matches = calibration.count_matches(vector, cosines, FALSE_POSITIVE_RATE * (1 - share))
    # With half the weight, texts come after all matching images; with the full one, between them.
    text_weight = 0.5 if matches and share <= FEW_WORDS else 1.0
    return [
        (texts, text_weight),
        (pages, text_weight * weight),
        (images[:matches], 1 + weight),
        (images[matches:], MIN_WEIGHT),
    ]


def image_probability(
    calibration: VectorCalibration, vector: Sequence[float], nearest: Sequence[PageMatch]
) -> float:
    """Return the probability, 0 to 1, that the nearest page matches by its image.

    It is the share of passages whose noise is below the best margin of the pages without a text;
    for pages with a text, and without a measurement, the cosine times the weight of the images.
    Vectors that rank by chance count for nothing.
    """
    images: list[float] = [1 - row["_distance"] for row in nearest if not row["text"]]
    pages: list[float] = [1 - row["_distance"] for row in nearest if row["text"]]
    weight = calibration.image_weight if calibration.image_weight > MIN_WEIGHT else 0.0
    if not calibration.noise:
        return max([0.0, *(weight * cosine for cosine in pages), *images])
    share = calibration.share_below(vector, max(images)) if images else 0.0
    return max([share if share > 1 - NEAR_RATE else 0.0, *(weight * cosine for cosine in pages)])


def fuse(
    rankings: Sequence[Ranking], total_weight: int
) -> tuple[dict[PageKey, float], dict[PageKey, PageMatch]]:
    """Return each page's reciprocal rank score and row; scores are at most 1.

    `total_weight` is the most that the weights of one page's rankings sum to.
    """
    scores: dict[PageKey, float] = {}
    rows: dict[PageKey, PageMatch] = {}
    for ranking, weight in rankings:
        for rank, row in enumerate(ranking, start=1):
            page = (row["digest"], row["page"])
            rows[page] = row
            score = weight * (DAMPING + 1) / (DAMPING + rank) / total_weight
            scores[page] = scores.get(page, 0.0) + score
    return scores, rows


def word_share(query: str, rows: Sequence[PageMatch]) -> float:
    """Return the largest share, 0 to 1, of a query's words that one page's text contains.

    Words of one or two letters do not count. If the query has no others, the share is 1 with any
    page and 0 without.
    """
    words = _words(query)
    if not words:
        return float(bool(rows))
    return max((len(words & _words(row["text"])) / len(words) for row in rows), default=0.0)


def _words(text: str) -> set[str]:
    """Return the words of three letters or more, in lower case and without a plural's s.

    In scripts without spaces between words, pairs of letters stand for words.
    """
    words = re.findall(r"\w{3,}", without_unspaced(text.lower()))
    return {word.removesuffix("s") for word in words} | set(letter_pairs(text))
