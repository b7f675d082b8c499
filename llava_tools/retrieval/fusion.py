"""Hybrid search: fuses the ranking by text and the ranking by image vectors into one.

Scores of the two cannot be compared, ranks can: reciprocal rank fusion (Cormack et al. 2009).

Pages with a text are in both rankings. Their vectors have the weight that was measured on this
index (`calibration`), which is 0 for vectors by chance. Pages without a text (images, for short)
have only their vectors. Neither ranking shows whether the query means what is written on a page or
what is seen there, so the evidence for both is compared: the margin of a page over noise, and the
share of the query's letters that the texts have (`scores.coverage`). Images, and pages that the
texts found, come first if their image has more evidence than the texts, the most evident one first.
Images with at least half as much come between the texts, the others after them. Without a
measurement, the weight of the images grows as the texts' share falls.
"""

from __future__ import annotations

from collections.abc import Sequence

from llava_tools.retrieval.calibration import VectorCalibration
from llava_tools.retrieval.schema import PageMatch

#: Pages, best first, and the ranking's weight.
Ranking = tuple[Sequence[PageMatch], float]
#: Evidence that a page matches by its image, and the page.
Candidate = tuple[float, PageMatch]
#: Digest of a document and number of a page.
PageKey = tuple[str, int]

#: Keeps the first ranks from deciding alone; the value of the paper.
DAMPING = 60
#: Images with this share of the texts' evidence, or more, come between the texts.
BETWEEN_SHARE = 0.5
#: Puts the first image between the first text and the second one, the second after that, and so on.
_HALF_RANK = (DAMPING + 1) / (DAMPING + 1.5)
#: Weight of a ranking whose pages come after all others.
_LAST_WEIGHT = 0.01


def weighted_rankings(
    calibration: VectorCalibration,
    coverage: float,
    texts: Sequence[PageMatch],
    nearest: Sequence[PageMatch],
    candidates: Sequence[Candidate],
) -> list[Ranking]:
    """Return the rankings of a hybrid search with their weights; a page is in at most two.

    Args:
        calibration: The index's.
        coverage: Evidence for the texts, 0 to 1: see `scores.best_coverage`.
        texts: The pages whose text has enough of the query's words, best first.
        nearest: Those whose vectors are nearest to the query's, nearest first.
        candidates: `match_images` of these.
    """
    weight = calibration.image_weight
    pages = [row for row in nearest if row["text"]] if weight else []
    if calibration.images is None:
        images = [row for row in nearest if not row["text"]]
        return [(texts, 1.0), (pages, weight), (images, 1 + weight * (1 - coverage))]
    first = [row for evidence, row in candidates if evidence > coverage]
    others = [(evidence, row) for evidence, row in candidates[len(first) :] if not row["text"]]
    between = [row for evidence, row in others if evidence > BETWEEN_SHARE * coverage]
    last = [row for _, row in others[len(between) :]]
    keys = {page_key(row) for row in first}
    # With half the weight, all texts come after the first pages.
    text_weight = 0.5 if first else 1.0
    return [
        (first, 1 + weight),
        ([row for row in texts if page_key(row) not in keys], text_weight),
        ([row for row in pages if page_key(row) not in keys], text_weight * weight),
        (between, text_weight * (1 + weight) * _HALF_RANK),
        (last, _LAST_WEIGHT),
    ]


def match_images(
    calibration: VectorCalibration,
    vector: Sequence[float],
    texts: Sequence[PageMatch],
    nearest: Sequence[PageMatch],
) -> list[Candidate]:
    """Return the pages without a text and those of `texts` that are near, the most evident first.

    Without a measurement, these are the pages without a text, and evidence is the cosine.
    """
    texts_noise, images_noise = calibration.texts, calibration.images
    found = {page_key(row) for row in texts}
    candidates = []
    for row in nearest:
        cosine = 1 - row["_distance"]
        if not row["text"]:
            evidence = images_noise.evidence(vector, cosine) if images_noise else cosine
            candidates.append((evidence, row))
        elif texts_noise and page_key(row) in found:
            candidates.append((texts_noise.evidence(vector, cosine), row))
    return sorted(candidates, key=lambda candidate: -candidate[0])


def page_key(row: PageMatch) -> PageKey:
    """Return what identifies a page."""
    return row["digest"], row["page"]


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
            page = page_key(row)
            rows[page] = row
            score = weight * (DAMPING + 1) / (DAMPING + rank) / total_weight
            scores[page] = scores.get(page, 0.0) + score
    return scores, rows
