"""How far an index's picture vectors are to be trusted: measured on its own pages, without labels.

A passage of a page's text is a query whose right answer is known: that page. How high the vectors
rank it among other pages, for a few dozen passages, tells what they know about such pages: a CLIP
that reads finds most, one that was made for other pictures ranks by chance. Twice the area under
the curve less one, from 0 (chance) to 1 (always first), with two standard errors taken off, is the
weight of the picture ranking for pages with a text; where pages have none, there is nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from llava_tools.backend import Encoder
from llava_tools.retrieval.store import Store

#: Pages that a passage's own page has to be told from.
SAMPLE = 1_000
#: Passages that are tried.
PASSAGES = 64
#: With fewer pages with a text nothing is measured, and both rankings count alike.
FEWEST = 20
#: Words of a passage, and its characters at most: what a question has, fewer than CLIP's 77 tokens.
WORDS, CHARACTERS = 12, 70
#: What chance is worth: it orders pages that the texts leave equal, and no others.
FLOOR = 0.01


def picture_weight(store: Store, encoder: Encoder) -> float:
    """Return the weight of the picture ranking for pages with a text, `FLOOR` to 1.

    Raises:
        ModelError: The embedder cannot be loaded.
    """
    rows = [row for row in store.sample(SAMPLE) if len(row["text"].split()) > 2 * WORDS]
    if len(rows) < FEWEST:
        return 1.0
    chosen = range(0, len(rows), -(-len(rows) // PASSAGES))
    passages = [passage(rows[place]["text"]) for place in chosen]
    return weight(encoder.embed_texts(passages), [row["vector"] for row in rows], list(chosen))


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
