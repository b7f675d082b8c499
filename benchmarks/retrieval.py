"""How well words find images and images words, with the embedded model's CLIP twin.

Through `Embedder`, from the shipped files: hundreds of images that were never trained on, drawn
by the training's renderer and by a second one, in the training's phrasings and in others.

    python -m benchmarks.retrieval [--times 3] [--images 200]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

import numpy as np
from PIL import Image

from benchmarks.machine import describe
from llava_tools.embedding import Embedder
from recipes.tiny_llava.retrieve import SIZE, Vectors, examine, neighbours, table, trial


def main() -> None:
    """Measure, print tables, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="sets of pictures a trial (3)")
    parser.add_argument("--pictures", type=int, default=SIZE, help=f"pictures a set ({SIZE})")
    options = parser.parse_args()
    embedder = Embedder()

    def texts(said: Sequence[str]) -> Vectors:
        return np.array(embedder.embed_texts(said), np.float32)

    def images(shown: Sequence[Image.Image]) -> Vectors:
        return np.array(embedder.embed_images(shown), np.float32)

    told = examine(texts, images, options.times, options.pictures)
    print(table(told, options.pictures))
    pairs = neighbours(texts, images)
    print(f"of two pictures that differ in one respect, the right one: {pairs}")
    one = trial("own")
    begun = time.perf_counter()
    images(one.pictures)
    looked = time.perf_counter()
    texts([caption.text for caption in one.wholes])
    read = time.perf_counter()
    figures = {
        "retrieval": told,
        "neighbours": pairs,
        "ms_a_picture": round(1000 * (looked - begun) / len(one.pictures), 1),
        "ms_a_text": round(1000 * (read - looked) / len(one.wholes), 1),
    }
    print(json.dumps({**describe(), **figures}))


if __name__ == "__main__":
    main()
