"""How far an index's image vectors are to be trusted: measured on its own pages, without labels.

A passage of a page's text is a query whose right answer is known: that page. Passages tell two
things.

How high the vectors rank the right page among other pages, for a few dozen passages, tells what
they know about such pages: a CLIP that reads finds most, one that was made for other images ranks
by chance. Twice the area under the curve less one, from 0 (chance) to 1 (always first), with two
standard errors taken off, is the weight of the image ranking for pages with a text.

Pages without a text can never be right for a passage. How near the nearest of them is to a passage
all the same tells what a nearness is worth: an image is found where it stands out more than it
does for passages. What counts is its lead: its cosine to the query less the mean one of such
images, since some queries are near to all images.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llava_tools.core.backend import Encoder
from llava_tools.retrieval.locking import writing
from llava_tools.retrieval.store import Store

#: Pages that a passage's own page has to be told from.
SAMPLE = 1_000
#: Passages that are tried.
PASSAGES = 64
#: With fewer pages with a text nothing is measured, and both rankings count alike; with fewer
#: without one, leads are over the mean of all pages.
FEWEST = 20
#: Words of a passage, and its characters at most: what a question has, fewer than CLIP's 77 tokens.
WORDS, CHARACTERS = 12, 70
#: What chance is worth: it orders pages that the texts leave equal, and no others.
FLOOR = 0.01
#: Cosines that differ by less are equal: they were computed in single precision, and rounded.
_EQUAL = 1e-5
_FILE = "trust.json"


@dataclass(frozen=True)
class VectorCalibration:
    """What was measured of an index.

    Attributes:
        images: Weight of the image ranking for pages with a text, `FLOOR` to 1.
        leads: Of the nearest page without a text, for each passage, largest first; empty where
            nothing was measured.
        middle: Mean vector of such pages, which leads are over.
        pages: How many pages there were; -1 where nothing was kept.
    """

    images: float = 1.0
    leads: tuple[float, ...] = ()
    middle: tuple[float, ...] = ()
    pages: int = -1

    def standing(self, vector: Sequence[float], near: Sequence[float], wrong: float) -> int:
        """Return how many pages without a text stand out, where that was measured.

        Args:
            vector: Of the query, of any length above 0.
            near: Cosines of the pages to it, largest first.
            wrong: The share of passages, 0 to 1, for which one may stand out as much.
        """
        bound = self.leads[min(int(wrong * len(self.leads)), len(self.leads) - 1)]
        usual = sum(one * other for one, other in zip(vector, self.middle, strict=True))
        usual /= sum(one * one for one in vector) ** 0.5
        return sum(cosine - usual > bound + _EQUAL for cosine in near)

    def keep(self, folder: Path) -> None:
        """Write it into an index's folder.

        Raises:
            IndexStoreError: The disk is full.
        """
        with writing(folder):
            new = folder / f"{_FILE}.new"
            new.write_text(json.dumps(asdict(self)))
            new.replace(folder / _FILE)


def kept(folder: Path) -> VectorCalibration:
    """Return what was measured of the index in a folder; what stands for nothing if it was not."""
    path = folder / _FILE
    told = json.loads(path.read_text()) if path.is_file() else {}
    if "leads" not in told:  # an index that was measured before leads were is measured again
        return VectorCalibration(told.get("pictures", 1.0))
    return VectorCalibration(
        told["pictures"], tuple(told["leads"]), tuple(told["middle"]), told["pages"]
    )


def measured(store: Store, encoder: Encoder) -> VectorCalibration:
    """Measure an index's vectors on its own pages.

    Raises:
        ModelError: The embedder cannot be loaded.
    """
    pages = store.count()
    sampled = store.sample(SAMPLE)
    rows = [row for row in sampled if len(row["text"].split()) > 2 * WORDS]
    if len(rows) < FEWEST:
        return VectorCalibration(pages=pages)
    chosen = range(0, len(rows), -(-len(rows) // PASSAGES))
    queries = encoder.embed_texts([passage(rows[place]["text"]) for place in chosen])
    found = weight(queries, [row["vector"] for row in rows], list(chosen))
    bare = store.bare(SAMPLE)
    if not bare:
        return VectorCalibration(round(found, 4), pages=pages)
    middle = _middle(bare if len(bare) >= FEWEST else [row["vector"] for row in sampled])
    leads = [_lead(store, query, middle) for query in queries]
    told = tuple(round(lead, 6) for lead in sorted(leads, reverse=True))
    return VectorCalibration(round(found, 4), told, tuple(round(one, 6) for one in middle), pages)


def _middle(vectors: Sequence[Sequence[float]]) -> list[float]:
    import numpy as np

    each = np.asarray(vectors, np.float32)
    mean: list[float] = (each / np.linalg.norm(each, axis=1, keepdims=True)).mean(0).tolist()
    return mean


def _lead(store: Store, query: Sequence[float], middle: Sequence[float]) -> float:
    """Return by how much the nearest page without a text is nearer to a query than the mean one."""
    import numpy as np

    nearest = [1 - row["_distance"] for row in store.nearest(query, 1, bare=True)]
    usual = float(np.dot(query, middle) / np.linalg.norm(query))
    return max(nearest, default=usual) - usual


def weight(
    queries: Sequence[Sequence[float]], pages: Sequence[Sequence[float]], right: Sequence[int]
) -> float:
    """Return what rankings are worth.

    Args:
        queries: Vectors of length one.
        pages: Vectors of length one, at least two.
        right: For each query, which page is meant.
    """
    import numpy as np

    near: Any = np.asarray(queries, np.float32) @ np.asarray(pages, np.float32).T
    own = near[np.arange(len(right)), list(right)][:, None]
    # Equals count half, and the page itself is among its equals.
    behind = (near < own).sum(1) + ((near == own).sum(1) - 1) / 2
    shares = behind / (len(pages) - 1)
    error = float(shares.std()) / len(right) ** 0.5
    sure: float = 2 * (float(shares.mean()) - 2 * error) - 1
    return min(1.0, max(FLOOR, sure))


def passage(text: str) -> str:
    """Return a few words from the middle of a text."""
    words = re.findall(r"\w+", text)
    start = max(0, (len(words) - WORDS) // 2)
    return " ".join(words[start : start + WORDS])[:CHARACTERS]
