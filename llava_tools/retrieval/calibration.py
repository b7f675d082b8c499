"""How reliable an index's image vectors are, measured on its own pages, without labels.

A passage of a page's text is a query whose right answer is that page. A few dozen passages measure
two things.

1. How high the vectors rank the right page. A CLIP that reads ranks most pages high; one that was
   trained on other images ranks by chance. Twice the area under the ROC curve less one, from 0
   (chance) to 1 (always first), less two standard errors, and raised to a high power, is the weight
   of the image ranking for pages with a text.
2. The noise of the pages that are not right for a passage: of those with a text, and of those
   without one. A query's margin over a page is the cosine of both, less the query's cosine to the
   mean vector of such pages, since some queries are near to all of them. The largest margin of each
   passage is noise; its mean and its deviation say what a margin is worth as evidence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llava_tools.core.backend import Encoder
from llava_tools.retrieval.store import Store
from llava_tools.retrieval.text import is_unspaced

#: Pages among which a passage's own page is ranked, at most.
SAMPLE_PAGES = 1_000
#: Passages, at most.
MAX_PASSAGES = 64
#: With fewer pages with a text, nothing is measured and both rankings weigh the same. With fewer
#: pages without a text, margins are over the mean of all pages.
MIN_PAGES = 20
#: Words and characters of a passage, at most: as long as a question, below CLIP's 77 tokens.
PASSAGE_WORDS, PASSAGE_CHARACTERS = 12, 70
#: A measured weight below it is 0, that of a ranking by chance.
MIN_WEIGHT = 0.01
#: Power of the quality that comes nearest to the best weight; see `benchmarks.image_weight`.
POWER = 16
#: A page whose margin is so many standard deviations above the mean noise is certain to match.
DEVIATIONS = 3.0
#: Cosines that differ by less are equal: they are computed in single precision and rounded.
_TOLERANCE = 1e-5
_NAME = "calibration"


@dataclass(frozen=True)
class Noise:
    """How near passages are to pages that are not right for them.

    Attributes:
        mean: Mean of the passages' largest margins.
        deviation: Their standard deviation.
        mean_vector: Mean of the pages' vectors, each scaled to length one.
    """

    mean: float
    deviation: float
    mean_vector: tuple[float, ...]

    def evidence(self, vector: Sequence[float], cosine: float) -> float:
        """Return the evidence that a page matches a query.

        It is 0 for mean noise and 1 at `DEVIATIONS` standard deviations above it; noise that always
        is the same counts as if its deviation were `_TOLERANCE`. `vector` is the query's, of any
        length above 0; `cosine` that of the query and the page.
        """
        margin = cosine - _mean_cosine(vector, self.mean_vector) - _TOLERANCE
        return (margin - self.mean) / (DEVIATIONS * max(self.deviation, _TOLERANCE))


@dataclass(frozen=True)
class VectorCalibration:
    """Measurements of an index's vectors. The defaults are those of an index without any.

    Attributes:
        image_weight: Weight of the image ranking for pages with a text, 0 (chance) to 1.
        texts: Noise of pages with a text; None if nothing was measured.
        images: Noise of pages without a text; that of the others if there are none.
        pages: Number of pages in the index when it was measured, -1 for never.
    """

    image_weight: float = 1.0
    texts: Noise | None = None
    images: Noise | None = None
    pages: int = -1

    def save(self, store: Store) -> None:
        """Write it into an index."""
        store.values.put(_NAME, json.dumps(asdict(self)))

    @classmethod
    def load(cls, store: Store) -> VectorCalibration:
        """Return the calibration of an index; the defaults if it has none that can be read."""
        try:
            fields = json.loads(store.values.get(_NAME) or "{}")
            weight = float(fields.get("image_weight", 1.0))
            if "texts" not in fields:  # incomplete: the next update measures again
                return cls(weight)
            texts, images = (_load_noise(fields[name]) for name in ("texts", "images"))
            return cls(weight, texts, images, int(fields["pages"]))
        except (ValueError, TypeError, KeyError, AttributeError):  # the next update measures again
            return cls()


def calibrate(store: Store, encoder: Encoder) -> VectorCalibration:
    """Measure an index's vectors on its own pages."""
    import numpy as np

    pages = store.count()
    sample = store.sample(SAMPLE_PAGES)
    rows = [row for row in sample if _has_passage(row["text"])]
    if len(rows) < MIN_PAGES:
        return VectorCalibration(pages=pages)
    targets = range(0, len(rows), -(-len(rows) // MAX_PASSAGES))
    queries = encoder.embed_texts([passage(rows[target]["text"]) for target in targets])
    vectors = _unit_vectors(rows)
    weight = round(image_weight(queries, vectors, targets), 4)
    cosines = np.asarray(queries, np.float32) @ vectors.T
    cosines[np.arange(len(targets)), list(targets)] = -1  # a passage's own page is right
    texts = _measure_noise(queries, vectors, cosines.max(1).tolist())
    without_text = store.sample(SAMPLE_PAGES, without_text=True)
    if not without_text:
        return VectorCalibration(weight, texts, texts, pages)
    images = _unit_vectors(without_text if len(without_text) >= MIN_PAGES else sample)
    nearest = [store.nearest(query, 1, without_text=True) for query in queries]
    # None is found if all such pages belong to documents that are not complete.
    found = [1 - matches[0]["_distance"] if matches else 0.0 for matches in nearest]
    return VectorCalibration(weight, texts, _measure_noise(queries, images, found), pages)


def _unit_vectors(rows: Sequence[dict[str, Any]]) -> Any:
    import numpy as np

    vectors = np.asarray([row["vector"] for row in rows], np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _measure_noise(
    queries: Sequence[Sequence[float]], vectors: Any, cosines: Sequence[float]
) -> Noise:
    """Return the noise of queries whose nearest pages that are not right have these cosines."""
    import numpy as np

    mean = tuple(round(x, 6) for x in vectors.mean(0).tolist())
    margins = [
        cosine - _mean_cosine(query, mean) for query, cosine in zip(queries, cosines, strict=True)
    ]
    return Noise(round(float(np.mean(margins)), 6), round(float(np.std(margins)), 6), mean)


def _load_noise(fields: dict[str, Any] | None) -> Noise | None:
    if fields is None:
        return None
    mean_vector = tuple(map(float, fields["mean_vector"]))
    return Noise(float(fields["mean"]), float(fields["deviation"]), mean_vector)


def _mean_cosine(vector: Sequence[float], mean_vector: Sequence[float]) -> float:
    """Return the mean cosine of a vector and the unit vectors whose mean is `mean_vector`."""
    product: float = sum(x * y for x, y in zip(vector, mean_vector, strict=True))
    length: float = sum(x * x for x in vector) ** 0.5
    return product / length


def image_weight(
    queries: Sequence[Sequence[float]], pages: Sequence[Sequence[float]], targets: Sequence[int]
) -> float:
    """Return the weight of the image ranking, from how it ranks the right pages.

    `queries` and `pages` (at least two) are unit vectors; `targets` has the index of each query's
    right page.
    """
    import numpy as np

    cosines: Any = np.asarray(queries, np.float32) @ np.asarray(pages, np.float32).T
    right = cosines[np.arange(len(targets)), list(targets)][:, None]
    # Ties count half; the right page ties with itself.
    behind = (cosines < right).sum(1) + ((cosines == right).sum(1) - 1) / 2
    areas = behind / (len(pages) - 1)
    error = float(areas.std()) / len(targets) ** 0.5
    quality: float = 2 * (float(areas.mean()) - 2 * error) - 1
    # Texts rank most right pages first: a ranking that is worse displaces more than it finds.
    weight = min(1.0, max(0.0, quality) ** POWER)
    return weight if weight >= MIN_WEIGHT else 0.0


def _has_passage(text: str) -> bool:
    """Return whether a text is twice as long as a passage."""
    words = len(text.split()) > 2 * PASSAGE_WORDS
    return words or (is_unspaced(text) and len(text) > 2 * PASSAGE_CHARACTERS)


def passage(text: str) -> str:
    """Return a few words from the middle of a text."""
    words = re.findall(r"\w+", text)
    start = max(0, (len(words) - PASSAGE_WORDS) // 2)
    return " ".join(words[start : start + PASSAGE_WORDS])[:PASSAGE_CHARACTERS]
