"""How fast pages are indexed and searched, and in how much memory.

Pages a second are told as a share of what the encoder alone does on the same pictures in the same
run, so that a busy machine says the same as an idle one. Searches are over random vectors of the
released CLIP's length.

    python -m benchmarks.indexing [--pages 500] [--model tiny] [--vectors 100000]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from PIL import Image, ImageDraw

from benchmarks.machine import describe
from llava_tools.embedding import Embedder
from llava_tools.images import open_image
from llava_tools.retrieval import PageIndex
from llava_tools.retrieval.reading import BATCH
from llava_tools.retrieval.store import DocumentRow, Meta, PageRow, Store
from llava_tools.testing import ScriptedEmbedder

WIDTH = 768


def draw(folder: Path, many: int) -> list[Path]:
    """Write pictures of pages: lines of words and a bar chart."""
    noise = random.Random(1)
    paths = []
    for page in range(many):
        image = Image.new("RGB", (850, 1100), "white")
        pen = ImageDraw.Draw(image)
        for line in range(30):
            words = " ".join(f"word{noise.randint(0, 9999)}" for _ in range(8))
            pen.text((60, 60 + 20 * line), words, "black")
        for bar in range(6):
            left = 100 + 100 * bar
            pen.rectangle((left, 1050 - noise.randint(20, 300), left + 60, 1050), "steelblue")
        paths.append(folder / f"{page:05}.png")
        image.save(paths[-1], compress_level=1)
    return paths


def index_rate(folder: Path, pages: int, model: str) -> dict[str, float]:
    """Return the encoder's pictures a second alone, and indexing's pages a second."""
    inside = folder / "in"
    inside.mkdir()
    paths = draw(inside, pages)
    embedder = Embedder(model)
    embedder.embed_images([open_image(path) for path in paths[:BATCH]])
    spent = 0.0
    for start in range(0, pages, BATCH):
        pictures = [open_image(path) for path in paths[start : start + BATCH]]
        begun = time.perf_counter()
        embedder.embed_images(pictures)
        spent += time.perf_counter() - begun
    memory: list[int] = []
    process = psutil.Process()
    report = PageIndex(folder / "index", embedder).update(
        [inside], lambda progress: memory.append(process.memory_info().rss)
    )
    alone, whole = pages / spent, pages / report.seconds
    quarter = max(1, len(memory) // 4)
    return {
        "encode_pages_s": round(alone, 2),
        "index_pages_s": round(whole, 2),
        "share": round(whole / alone, 3),
        "memory_mb_first_quarter": round(max(memory[:quarter]) / 1e6),
        "memory_mb_last_quarter": round(max(memory[-quarter:]) / 1e6),
    }


def rows(vectors: int, seed: int) -> Iterator[list[PageRow]]:
    """Yield batches of pages with random vectors and a few words."""
    rng = np.random.default_rng(seed)
    for start in range(0, vectors, 5000):
        many = min(5000, vectors - start)
        made = rng.standard_normal((many, WIDTH), np.float32)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        yield [
            PageRow("d", start + place + 1, "", 9, 9, f"word{start + place}", b"", vector.tolist())
            for place, vector in enumerate(made)
        ]


def search_times(folder: Path, vectors: int) -> dict[str, float]:
    """Return milliseconds of hybrid and of picture searches, medians over 50."""
    store = Store(folder, Meta("random", "random", WIDTH))
    for batch in rows(vectors, 1):
        store.add_pages(batch)
    store.put_documents([DocumentRow("d.pdf", "d", vectors, True, True)])
    begun = time.perf_counter()
    store.sweep()
    built = time.perf_counter() - begun
    noise = random.Random(2)
    embedder = ScriptedEmbedder(
        lambda text: [noise.gauss(0, 1) for _ in range(WIDTH)], dimensions=WIDTH
    )
    index = PageIndex(folder, embedder)
    index.search("word1")
    told = {"vectors": float(vectors), "build_index_s": round(built, 1)}
    for mode in ("hybrid", "picture", "text"):
        times = []
        for _ in range(50):
            begun = time.perf_counter()
            index.search(f"word{noise.randrange(vectors)}", mode=mode)
            times.append(time.perf_counter() - begun)
        told[f"{mode}_ms"] = round(1000 * statistics.median(times), 1)
    return told


def main() -> None:
    """Measure, then print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--vectors", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        indexing = index_rate(Path(work), options.pages, options.model)
        print(indexing)
        searching = search_times(Path(work) / "vectors", options.vectors)
        print(searching)
    print(json.dumps({**describe(), "indexing": indexing, "searching": searching}))


if __name__ == "__main__":
    main()
