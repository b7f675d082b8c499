"""Hybrid search: fuses the ranking by text and the ranking by image vectors into one.

Scores of the two cannot be compared, ranks can: reciprocal rank fusion (Cormack et al. 2009).

Pages with a text are in both rankings. Their vectors have the weight that was measured on this
index (`calibration`), which is 0 for vectors by chance. Pages without a text (images, for short)
have only their vectors, and neither ranking shows whether the query means an image or a text. So
the evidence for each image is compared with the evidence for the texts, which is the share of the
query's letters that they have (`scores.coverage`). Images with more evidence come before the texts,
those with at least half as much between them, the others after them. An image that is less near
than one of the best texts has no evidence: if vectors see the right page, it is the nearest one.
Without a measurement, the weight of the images grows as the texts' share falls.
"""

from __future__ import annotations

from collections.abc import Sequence

from llava_tools.retrieval.calibration import VectorCalibration
from llava_tools.retrieval.schema import PageMatch

#: Pages, best first, and the ranking's weight.
Ranking = tuple[Sequence[PageMatch], float]
#: Digest of a document and number of a page.
PageKey = tuple[str, int]

#: Keeps the first ranks from deciding alone; the value of the paper.
DAMPING = 60
#: Images with this share of the texts' evidence, or more, come between the texts.
BETWEEN_SHARE = 0.5
#: Number of texts, from the best on, that an image has to be nearer than.
CHECKED_TEXTS = 5
#: Puts the first image between the first text and the second one, the second after that, and so on.
_HALF_RANK = (DAMPING + 1) / (DAMPING + 1.5)
#: Weight of a ranking whose pages come after all others.
_LAST_WEIGHT = 0.01


def weighted_rankings(
    calibration: VectorCalibration,
    coverage: float,
    texts: Sequence[PageMatch],
    nearest: Sequence[PageMatch],
    evidence: Sequence[float],
) -> list[Ranking]:
    """Return the rankings of a hybrid search with their weights; a page is in at most two.

    Args:
        calibration: The index's.
        coverage: Evidence for the texts, 0 to 1: see `scores.best_coverage`.
        texts: The pages whose text has enough of the query's words, best first.
        nearest: Those whose vectors are nearest to the query's, nearest first.
        evidence: `image_evidence` of these.
    """
    weight = calibration.image_weight
    pages = [row for row in nearest if row["text"]] if weight else []
    images = [row for row in nearest if not row["text"]]
    if not calibration.mean_vector:
        return [(texts, 1.0), (pages, weight), (images, 1 + weight * (1 - coverage))]
    before = sum(value > coverage for value in evidence)
    between = max(before, sum(value > BETWEEN_SHARE * coverage for value in evidence))
    # With half the weight, all texts come after the images before them.
    text_weight = 0.5 if before else 1.0
    return [
        (texts, text_weight),
        (pages, text_weight * weight),
        (images[:before], 1 + weight),
        (images[before:between], text_weight * (1 + weight) * _HALF_RANK),
        (images[between:], _LAST_WEIGHT),
    ]


def image_evidence(
    calibration: VectorCalibration,
    vector: Sequence[float],
    texts: Sequence[PageMatch],
    nearest: Sequence[PageMatch],
) -> list[float]:
    """Return the evidence that each page of `nearest` without a text matches by its image.

    See `VectorCalibration.evidence`; it is the cosine if no noise was measured. The list ends with
    the first page that is less near than one of the best texts.
    """
    best = {(row["digest"], row["page"]) for row in texts[:CHECKED_TEXTS]}
    evidence = []
    for row in nearest:
        cosine = 1 - row["_distance"]
        if calibration.mean_vector and (row["digest"], row["page"]) in best:
            break
        if not row["text"]:
            measured = bool(calibration.mean_vector)
            evidence.append(calibration.evidence(vector, cosine) if measured else cosine)
    return evidence


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
