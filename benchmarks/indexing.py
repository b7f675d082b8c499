"""How fast pages are indexed and searched, and in how much memory.

Three measurements, each by itself with `--part`:

- `rate`: pages a second as a share of what the vision tower's forward pass alone does on the same
  pages, prepared beforehand, in the same run. Random weights of the released CLIP's size
  (ViT-L/14-336) unless `--model` says otherwise. By the clock, where half of the forward passes
  come before the indexing and half behind it, and by the process's own time on the CPU, which is
  the one to read on a busy machine without a GPU: there, what overlaps takes its time all the same.
- `memory`: the process's memory while many pages are indexed, with vectors out of their digests.
- `search`: milliseconds over random vectors of the released CLIP's length, and how many of the ten
  nearest are found; random vectors have no structure that an index could use.

    python -m benchmarks.indexing [--part rate] [--pages 32] [--many 10000] [--vectors 100000]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import psutil
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from benchmarks.drawn_pdf import DrawnPage, Words, write_drawn
from benchmarks.machine import describe
from llava_tools.engine.embedding import ClipEmbedding
from llava_tools.engine.loading.clip import load_clip
from llava_tools.options import EmbeddingOptions
from llava_tools.retrieval import PageIndex, Progress
from llava_tools.retrieval.ingest import BATCH
from llava_tools.retrieval.pages import digest_of, open_document, read_pages
from llava_tools.retrieval.search import Mode
from llava_tools.retrieval.store import DocumentRow, Meta, PageRow, Store
from llava_tools.testing import ScriptedEmbedder
from tests.checkpoints import clip_like_tokenizer

WIDTH, SIDE = 768, 336
PAGES_A_FILE = 100


def draw(folder: Path, many: int) -> list[Path]:
    """Write PDFs of pages with lines of words and a bar chart, no page like another."""
    folder.mkdir()
    noise = random.Random(1)
    paths = []
    for start in range(0, many, PAGES_A_FILE):
        pages = [_page(noise) for _ in range(min(PAGES_A_FILE, many - start))]
        paths.append(write_drawn(folder / f"{start:06}.pdf", pages))
    return paths


def _page(noise: random.Random) -> DrawnPage:
    lines = [" ".join(f"word{noise.randint(0, 9999)}" for _ in range(8)) for _ in range(30)]
    words = [Words(line, 60, 780 - 14 * place) for place, line in enumerate(lines)]
    bars = [(80.0 + 70 * bar, 60.0, 45.0, float(noise.randint(20, 250))) for bar in range(6)]
    return DrawnPage((595, 842), words, bars)


def write_clip(folder: Path) -> None:
    """Write random weights in the shape of openai/clip-vit-large-patch14-336, but for the text."""
    tokenizer = clip_like_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=SIDE,
        patch_size=14,
    )
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=1, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=size).save_pretrained(folder)


def index_rate(work: Path, pages: int, model: str | None) -> dict[str, float]:
    """Return pages a second of the forward pass alone and of indexing."""
    paths = draw(work / "in", pages)
    if model is None:
        write_clip(work / "clip")
    clip = None if model else str(work / "clip")
    options = EmbeddingOptions(model or "7b", local_files_only=True, clip=clip)
    embedding = ClipEmbedding(load_clip(options), options, dict)
    pixels = prepared(embedding, paths)
    forward(embedding, [pixels[0][:1]])
    half = (len(pixels) + 1) // 2
    before = forward(embedding, pixels[:half])
    begun = time.process_time()
    report = PageIndex(work / "index", embedding).update([work / "in"])
    busy = time.process_time() - begun
    behind = forward(embedding, pixels[half:])
    wall, own = (one + other for one, other in zip(before, behind, strict=True))
    return {
        "forward_pages_s": round(pages / wall, 3),
        "index_pages_s": round(pages / report.seconds, 3),
        "share": round(wall / report.seconds, 3),
        "forward_cpu_s_a_page": round(own / pages, 3),
        "index_cpu_s_a_page": round(busy / pages, 3),
        "share_of_cpu_time": round(own / busy, 3),
    }


def prepared(embedding: ClipEmbedding, paths: Sequence[Path]) -> list[torch.Tensor]:
    """Return the pages as the tower takes them, in batches."""
    processor = embedding._eye().processor
    documents = [open_document(str(path), *digest_of(str(path))) for path in paths]
    seen = [
        processor([page.image.rgb()], return_tensors="pt")["pixel_values"]
        for document in documents
        for page in read_pages(document)
    ]
    return [torch.cat(seen[start : start + BATCH]) for start in range(0, len(seen), BATCH)]


@torch.inference_mode()
def forward(embedding: ClipEmbedding, batches: Sequence[torch.Tensor]) -> tuple[float, float]:
    """Return the seconds that the vision tower takes for batches, by the clock and on the CPU."""
    tower = embedding._eye().tower
    begun, own = time.perf_counter(), time.process_time()
    for batch in batches:
        tower(pixel_values=batch.to(tower.device, tower.dtype)).pooler_output.cpu()
    return time.perf_counter() - begun, time.process_time() - own


def index_memory(work: Path, pages: int) -> dict[str, float]:
    """Return the most memory after each quarter of the pages, from the one before on."""
    draw(work / "in", pages)
    noise = np.random.default_rng(1)
    embedder = ScriptedEmbedder(
        texts=lambda text: noise.standard_normal(WIDTH).tolist(),
        images=lambda image: noise.standard_normal(WIDTH).tolist(),
        dimensions=WIDTH,
    )
    process = psutil.Process()
    told: list[tuple[float, int]] = []

    def note(progress: Progress) -> None:
        told.append((progress.done / progress.total, process.memory_info().rss))

    own = time.process_time()
    report = PageIndex(work / "index", embedder).update([work / "in"], note)
    quarters = [
        max(rss for done, rss in told if quarter / 4 < done <= (quarter + 1) / 4)
        for quarter in range(4)
    ]
    return {
        "pages": float(report.added),
        "pages_s": round(report.added / report.seconds, 1),
        "cpu_s_a_page": round((time.process_time() - own) / report.added, 4),
        **{f"memory_mb_at_{25 * n}%": round(rss / 1e6) for n, rss in enumerate(quarters, start=1)},
        "memory_mb_after": round(process.memory_info().rss / 1e6),
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
    """Return milliseconds of searches, medians and 95th percentiles of 50, and what was found.

    `nearest` is the search for vectors alone, whose ten best are compared to those of all vectors.
    """
    store = Store(folder, Meta("random", "random", WIDTH))
    for batch in rows(vectors, 1):
        store.add_pages(batch)
    store.put_documents([DocumentRow("d.pdf", "d", vectors, True, True)])
    begun, own = time.perf_counter(), time.process_time()
    store.sweep()
    told = {
        "vectors": float(vectors),
        "build_index_s": round(time.perf_counter() - begun, 1),
        "build_index_cpu_s": round(time.process_time() - own, 1),
    }
    noise = random.Random(2)
    queries = [[noise.gauss(0, 1) for _ in range(WIDTH)] for _ in range(50)]
    embedder = ScriptedEmbedder(lambda text: noise.choice(queries), dimensions=WIDTH)
    index = PageIndex(folder, embedder)
    index.search("word1")
    found: list[set[int]] = []

    def nearest(number: int) -> None:
        found.append({row["page"] for row in index.store.nearest(queries[number], 50)[:10]})

    told |= timed("nearest", nearest)
    for mode in get_args(Mode):
        words = [f"word{noise.randrange(vectors)}" for _ in queries]
        told |= timed(mode, partial(_find, index, words, mode))
    told["recall@10"] = round(_recall(found, queries, vectors), 3)
    return told


def timed(name: str, search: Callable[[int], object]) -> dict[str, float]:
    """Return milliseconds of 50 searches: median, 95th percentile, and the processor's mean."""
    times = []
    own = time.process_time()
    for number in range(50):
        begun = time.perf_counter()
        search(number)
        times.append(1000 * (time.perf_counter() - begun))
    return {
        f"{name}_ms": round(statistics.median(times), 1),
        f"{name}_ms_p95": round(statistics.quantiles(times, n=20)[-1], 1),
        f"{name}_cpu_ms": round(20 * (time.process_time() - own), 1),
    }


def _find(index: PageIndex, words: Sequence[str], mode: Mode, number: int) -> None:
    index.search(words[number], mode=mode)


def _recall(found: Sequence[set[int]], queries: Sequence[Sequence[float]], vectors: int) -> float:
    """Return the share of the ten nearest of all vectors that was found."""
    asked = np.array(queries, np.float32).T
    near = np.concatenate([_matrix(batch) @ asked for batch in rows(vectors, 1)])
    best = np.argsort(-near, axis=0)[:10].T + 1
    each = zip(found, best.tolist(), strict=True)
    return float(np.mean([len(one & set(right)) / 10 for one, right in each]))


def _matrix(batch: Sequence[PageRow]) -> Any:
    return np.array([row.vector for row in batch], np.float32)


def main() -> None:
    """Measure, then print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ("rate", "memory", "search")
    parser.add_argument("--part", choices=parts, action="append", help="which; all by default")
    parser.add_argument("--pages", type=int, default=32, help="pages for the rate (32)")
    parser.add_argument("--model", help="whose eye, instead of random weights of ViT-L/14-336")
    parser.add_argument("--many", type=int, default=10_000, help="pages for the memory (10000)")
    parser.add_argument("--vectors", type=int, default=100_000)
    options = parser.parse_args()
    told: dict[str, dict[str, float]] = {}
    for part in options.part or parts:
        with tempfile.TemporaryDirectory() as work:
            if part == "rate":
                told[part] = index_rate(Path(work), options.pages, options.model)
            elif part == "memory":
                told[part] = index_memory(Path(work), options.many)
            else:
                told[part] = search_times(Path(work) / "vectors", options.vectors)
        print(part, told[part], flush=True)
    print(json.dumps({**describe(), **told}))


if __name__ == "__main__":
    main()
