"""How reliable an index's image vectors are, measured on its own pages, without labels.

A passage of a page's text is a query whose right answer is that page. A few dozen passages measure
two things.

1. How high the vectors rank the right page. A CLIP that reads ranks most pages high; one that was
   trained on other images ranks by chance. Twice the area under the ROC curve less one, from 0
   (chance) to 1 (always first), less two standard errors, and squared, is the weight of the image
   ranking for pages with a text.
2. The noise floor for pages without a text, which are never right for a passage. A query's margin
   over such a page is the cosine of both, less the query's cosine to the mean vector of these
   pages, since some queries are near to all images. The largest margin of each passage is noise; a
   match must exceed it.
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
#: Weight of a ranking by chance: it orders pages that rank the same by their texts, and no others.
MIN_WEIGHT = 0.01
#: Cosines that differ by less are equal: they are computed in single precision and rounded.
_TOLERANCE = 1e-5
_NAME = "calibration"


@dataclass(frozen=True)
class VectorCalibration:
    """Measurements of an index's vectors. The defaults are those of an index without any.

    Attributes:
        image_weight: Weight of the image ranking for pages with a text, `MIN_WEIGHT` to 1.
        noise: The largest margin of each passage over pages without a text, descending; empty if
            nothing was measured.
        mean_vector: Mean of the vectors of such pages, each scaled to length one.
        pages: Number of pages in the index when it was measured, -1 for never.
    """

    image_weight: float = 1.0
    noise: tuple[float, ...] = ()
    mean_vector: tuple[float, ...] = ()
    pages: int = -1

    def count_matches(
        self, vector: Sequence[float], cosines: Sequence[float], false_positive_rate: float
    ) -> int:
        """Return how many pages without a text exceed the noise floor; `noise` must not be empty.

        `vector` is the query's, of any length above 0; `cosines` are those of the query and the
        pages; `false_positive_rate` is the share of passages whose noise may exceed the floor.
        """
        floor = self.noise[min(int(false_positive_rate * len(self.noise)), len(self.noise) - 1)]
        floor += _mean_cosine(vector, self.mean_vector) + _TOLERANCE
        return sum(cosine > floor for cosine in cosines)

    def share_below(self, vector: Sequence[float], cosine: float) -> float:
        """Return the share of passages whose noise is below a page's margin; see `count_matches`.

        `cosine` is that of the query's `vector` and the page; `noise` must not be empty.
        """
        margin = cosine - _mean_cosine(vector, self.mean_vector) - _TOLERANCE
        return sum(noise < margin for noise in self.noise) / len(self.noise)

    def save(self, store: Store) -> None:
        """Write it into an index."""
        store.values.put(_NAME, json.dumps(asdict(self)))

    @classmethod
    def load(cls, store: Store) -> VectorCalibration:
        """Return the calibration of an index; the defaults if it has none that can be read."""
        try:
            fields = json.loads(store.values.get(_NAME) or "{}")
            if "noise" not in fields:  # incomplete: the next update measures again
                return cls(float(fields.get("image_weight", 1.0)))
            lists = {name: tuple(map(float, fields[name])) for name in ("noise", "mean_vector")}
            return cls(**fields | lists)
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
    weight = round(image_weight(queries, [row["vector"] for row in rows], targets), 4)
    without_text = store.sample(SAMPLE_PAGES, without_text=True)
    if not without_text:
        return VectorCalibration(weight, pages=pages)
    images = without_text if len(without_text) >= MIN_PAGES else sample
    vectors = np.asarray([row["vector"] for row in images], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mean: list[float] = vectors.mean(0).tolist()
    margins = []
    for query in queries:
        nearest = store.nearest(query, 1, without_text=True)
        cosine = _mean_cosine(query, mean)
        margins.append(max((1 - row["_distance"] for row in nearest), default=cosine) - cosine)
    noise = tuple(round(margin, 6) for margin in sorted(margins, reverse=True))
    return VectorCalibration(weight, noise, tuple(round(x, 6) for x in mean), pages)


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
    # Squared: a ranking that is little better than chance must not part pages that texts order.
    return float(min(1.0, max(MIN_WEIGHT, max(0.0, quality) ** 2)))


def _has_passage(text: str) -> bool:
    """Return whether a text is twice as long as a passage."""
    words = len(text.split()) > 2 * PASSAGE_WORDS
    return words or (is_unspaced(text) and len(text) > 2 * PASSAGE_CHARACTERS)


def passage(text: str) -> str:
    """Return a few words from the middle of a text."""
    words = re.findall(r"\w+", text)
    start = max(0, (len(words) - PASSAGE_WORDS) // 2)
    return " ".join(words[start : start + PASSAGE_WORDS])[:PASSAGE_CHARACTERS]
