"""Image and text retrieval with the embedded model's CLIP, through `Embedder`.

Hundreds of images that are not in the training data, by the training's renderer and by a second
one, with captions in the training's phrasings and in others.

    python -m benchmarks.retrieval [--times 3] [--images 200]
"""

from __future__ import annotations

import argparse
import json
import time

from benchmarks.machine import describe
from llava_tools.embedding import Embedder
from recipes.tiny_llava import card
from recipes.tiny_llava.retrieval import SIZE, examine, neighbours, trial


def main() -> None:
    """Measure, print tables, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="sets of images per trial (3)")
    parser.add_argument("--images", type=int, default=SIZE, help=f"images per set ({SIZE})")
    options = parser.parse_args()
    embedder = Embedder()
    embed_texts, embed_images = embedder.embed_texts, embedder.embed_images
    results = examine(embed_texts, embed_images, options.times, options.images)
    print(card.retrieval(results, options.images))
    pairs = neighbours(embed_texts, embed_images)
    print(f"of two images that differ in one respect, the right one: {pairs}")
    timed = trial("own")
    start = time.perf_counter()
    embed_images(timed.images)
    between = time.perf_counter()
    embed_texts([caption.text for caption in timed.wholes])
    end = time.perf_counter()
    figures = {
        "retrieval": results,
        "neighbours": pairs,
        "ms_per_image": round(1000 * (between - start) / len(timed.images), 1),
        "ms_per_text": round(1000 * (end - between) / len(timed.wholes), 1),
    }
    print(json.dumps({**describe(), **figures}))


if __name__ == "__main__":
    main()
