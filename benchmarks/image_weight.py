"""Which weight of the image ranking orders pages best, for each quality of the vectors.

A simulation of `llava_tools.retrieval.fusion`: the right page has a rank among the texts, drawn as
the `tuning` questions of `benchmarks.pages` have it, and a cosine that is higher than those of the
other pages by as much as the quality says (twice the area under the ROC curve less one; cosines
are normal). Printed are the mean nDCG@5 by text, with the best of some weights, and with the weight
that an index sets, the quality to the power of `calibration.POWER`.

    python -m benchmarks.image_weight [--pages 250] [--queries 4000]
"""

from __future__ import annotations

import argparse
import json
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe
from llava_tools.retrieval.calibration import MIN_WEIGHT, POWER
from llava_tools.retrieval.fusion import DAMPING
from llava_tools.retrieval.search import MIN_DEPTH

QUALITIES = (0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
WEIGHTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
#: Probability of the right page's first ranks among the texts, and of all others together.
FIRST_RANKS, OTHER_RANKS = (0.67, 0.12, 0.07, 0.05, 0.03), 0.06

Scores = NDArray[np.float64]
Columns = NDArray[np.int64]


def rank_scores(pages: int, queries: int, quality: float) -> tuple[Scores, Scores, Columns]:
    """Return the reciprocal ranks by text and by image, and the column of each right page."""
    rng = np.random.default_rng(1)
    others = MIN_DEPTH - len(FIRST_RANKS)
    chances = np.array([*FIRST_RANKS, *[OTHER_RANKS / others] * others])
    right = rng.choice(MIN_DEPTH, size=queries, p=chances / chances.sum())
    cosines = rng.normal(size=(queries, pages))
    cosines[np.arange(queries), right] += 2**0.5 * NormalDist().inv_cdf((1 + quality) / 2)
    ranks = (-cosines).argsort(1).argsort(1) + 1
    images: Scores = np.where(ranks <= MIN_DEPTH, (DAMPING + 1) / (DAMPING + ranks), 0.0)
    texts = np.zeros(pages)
    texts[:MIN_DEPTH] = (DAMPING + 1) / (DAMPING + 1 + np.arange(MIN_DEPTH))
    return texts, images, right


def ndcg(texts: Scores, images: Scores, right: Columns, weight: float) -> float:
    """Return the mean nDCG@5 of the fused order."""
    scores = texts + weight * images
    own = scores[np.arange(len(right)), right][:, None]
    rank = (scores > own).sum(1)
    return float(np.where(rank < 5, 1 / np.log2(rank + 2), 0.0).mean())


def main() -> None:
    """Measure, print a line for each quality, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=250)
    parser.add_argument("--queries", type=int, default=4000)
    options = parser.parse_args()
    results = {}
    for quality in QUALITIES:
        scores = rank_scores(options.pages, options.queries, quality)
        figures = {weight: ndcg(*scores, weight) for weight in WEIGHTS}
        best = max(WEIGHTS, key=lambda weight: figures[weight])
        own = quality**POWER if quality**POWER >= MIN_WEIGHT else 0.0
        results[quality] = {
            "text": round(figures[0.0], 3),
            "best_weight": best,
            "best": round(figures[best], 3),
            "weight": round(own, 3),
            "fused": round(ndcg(*scores, own), 3),
        }
        print(f"quality {quality:<5}", *(f"{name} {x:<6}" for name, x in results[quality].items()))
    print(json.dumps({"benchmark": "image_weight", **vars(options), **describe(), **results}))


if __name__ == "__main__":
    main()
