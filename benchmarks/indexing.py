"""Indexing and searching pages: speed and memory.

Three measurements; `--part` selects one:

- `rate`: pages per second of indexing, as a share of the vision tower's forward pass alone on the
  same preprocessed pages in the same run. Weights are random, of the released CLIP's size
  (ViT-L/14-336), without `--model`. Measured in wall time, with half of the forward passes before
  the indexing and half after it, and in CPU time of the process. On a busy machine without a GPU,
  read the CPU time: there, overlapping steps still compete for the CPU.
- `memory`: memory of the process while many pages are indexed, with random vectors; the size of the
  index, the time to index the unchanged files again, and searches in it.
- `search`: milliseconds over random vectors of the released CLIP's length, and recall of the ten
  nearest; random vectors have no structure that an index could use.

    python -m benchmarks.indexing [--part rate] [--pages 32] [--memory-pages 10000]
        [--vectors 100000]
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

from benchmarks.drawn_pdf import DrawnPage, TextLine, write_pages
from benchmarks.machine import describe
from llava_tools.engine.embedding import ClipEmbedding
from llava_tools.engine.loading.clip import load_clip
from llava_tools.engine.loading.processor import preprocess
from llava_tools.options import EmbeddingOptions
from llava_tools.retrieval import IndexProgress, PageIndex
from llava_tools.retrieval.ingest import BATCH_SIZE
from llava_tools.retrieval.pages import hash_file, open_document, read_pages
from llava_tools.retrieval.schema import DocumentRow, IndexMetadata, PageRow
from llava_tools.retrieval.search import SearchMode
from llava_tools.retrieval.writable_store import WritableStore
from llava_tools.testing import ScriptedEmbedder
from tests.checkpoints import clip_like_tokenizer

DIMENSIONS, SIDE = 768, 336
PAGES_PER_FILE = 100


def write_pdfs(folder: Path, count: int) -> list[Path]:
    """Write PDFs of `count` different pages, each with lines of words and a bar chart."""
    folder.mkdir()
    rng = random.Random(1)
    paths = []
    for start in range(0, count, PAGES_PER_FILE):
        pages = [_page(rng) for _ in range(min(PAGES_PER_FILE, count - start))]
        paths.append(write_pages(folder / f"{start:06}.pdf", pages))
    return paths


def _page(rng: random.Random) -> DrawnPage:
    texts = [" ".join(f"word{rng.randint(0, 9999)}" for _ in range(8)) for _ in range(30)]
    lines = [TextLine(text, 60, 780 - 14 * row) for row, text in enumerate(texts)]
    bars = [(80.0 + 70 * bar, 60.0, 45.0, float(rng.randint(20, 250))) for bar in range(6)]
    return DrawnPage((595, 842), lines, bars)


def write_clip(folder: Path) -> None:
    """Write random weights of openai/clip-vit-large-patch14-336's size, with a small text tower."""
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
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIMENSIONS)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=size).save_pretrained(folder)


def index_rate(work: Path, pages: int, model: str | None) -> dict[str, float]:
    """Return pages per second of the forward pass alone and of indexing."""
    paths = write_pdfs(work / "in", pages)
    if model is None:
        write_clip(work / "clip")
    clip = None if model else str(work / "clip")
    options = EmbeddingOptions(model or "7b", local_files_only=True, clip=clip)
    embedding = ClipEmbedding(load_clip(options), options, dict)
    batches = page_pixels(embedding, paths)
    time_forward(embedding, [batches[0][:1]])
    half = (len(batches) + 1) // 2
    before = time_forward(embedding, batches[:half])
    cpu_start = time.process_time()
    report = PageIndex(work / "index", embedding).update([work / "in"])
    index_cpu = time.process_time() - cpu_start
    after = time_forward(embedding, batches[half:])
    wall, cpu = before[0] + after[0], before[1] + after[1]
    return {
        "forward_pages_s": round(pages / wall, 3),
        "index_pages_s": round(pages / report.seconds, 3),
        "share": round(wall / report.seconds, 3),
        "forward_cpu_s_per_page": round(cpu / pages, 3),
        "index_cpu_s_per_page": round(index_cpu / pages, 3),
        "share_of_cpu_time": round(cpu / index_cpu, 3),
    }


def page_pixels(embedding: ClipEmbedding, paths: Sequence[Path]) -> list[torch.Tensor]:
    """Return the pages' pixels as the vision tower takes them, in batches."""
    processor = embedding._vision_tower().processor
    documents = [open_document(str(path), *hash_file(str(path))) for path in paths]
    pixels = [
        preprocess(processor, [page.image])
        for document in documents
        for page in read_pages(document)
    ]
    starts = range(0, len(pixels), BATCH_SIZE)
    return [torch.cat(pixels[start : start + BATCH_SIZE]) for start in starts]


@torch.inference_mode()
def time_forward(embedding: ClipEmbedding, batches: Sequence[torch.Tensor]) -> tuple[float, float]:
    """Return the wall and CPU seconds of the vision tower's forward passes."""
    tower = embedding._vision_tower().model
    start, cpu_start = time.perf_counter(), time.process_time()
    for batch in batches:
        tower(pixel_values=batch.to(tower.device, tower.dtype)).pooler_output.cpu()
    return time.perf_counter() - start, time.process_time() - cpu_start


def index_memory(work: Path, pages: int) -> dict[str, float]:
    """Return the most memory during each quarter of the pages, sizes, and times of what follows."""
    write_pdfs(work / "in", pages)
    rng = np.random.default_rng(1)
    embedder = ScriptedEmbedder(
        texts=lambda text: rng.standard_normal(DIMENSIONS).tolist(),
        images=lambda image: rng.standard_normal(DIMENSIONS).tolist(),
        dimensions=DIMENSIONS,
    )
    process = psutil.Process()
    samples: list[tuple[float, int]] = []

    def sample(progress: IndexProgress) -> None:
        samples.append((progress.done / progress.total, process.memory_info().rss))

    cpu_start = time.process_time()
    index = PageIndex(work / "index", embedder)
    report = index.update([work / "in"], sample)
    cpu_seconds = time.process_time() - cpu_start
    memory_after = process.memory_info().rss
    again = index.update([work / "in"])
    chosen = random.Random(3)
    words = [f"word{chosen.randrange(10_000)} word{chosen.randrange(10_000)}" for _ in range(50)]
    quarters = [
        max(rss for done, rss in samples if quarter / 4 < done <= (quarter + 1) / 4)
        for quarter in range(4)
    ]
    return {
        "pages": float(report.added),
        "pages_s": round(report.added / report.seconds, 1),
        "cpu_s_per_page": round(cpu_seconds / report.added, 4),
        **{f"memory_mb_at_{25 * n}%": round(rss / 1e6) for n, rss in enumerate(quarters, start=1)},
        "memory_mb_after": round(memory_after / 1e6),
        "index_mb": round((index.stats().bytes or 0) / 1e6),
        "again_s": round(again.seconds, 1),
        **time_searches("text", partial(_search, index, words, "text")),
        **time_searches("hybrid", partial(_search, index, words, "hybrid")),
    }


def page_rows(count: int, seed: int) -> Iterator[list[PageRow]]:
    """Yield batches of pages with random vectors and one word each."""
    rng = np.random.default_rng(seed)
    for start in range(0, count, 5000):
        vectors = rng.standard_normal((min(5000, count - start), DIMENSIONS), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        yield [
            PageRow("d", page + 1, "", 9, 9, f"word{page}", b"", vector.tolist())
            for page, vector in enumerate(vectors, start)
        ]


def search_times(folder: Path, vectors: int) -> dict[str, float]:
    """Return milliseconds of searches, medians and 95th percentiles of 50, and recall.

    `nearest` is the vector search alone; its ten best are compared to those of all vectors.
    """
    store = WritableStore(folder, IndexMetadata("scripted", "scripted", DIMENSIONS))
    for batch in page_rows(vectors, 1):
        store.add_pages(batch)
    store.put_documents([DocumentRow("d.pdf", "d", vectors, True, True)])
    start, cpu_start = time.perf_counter(), time.process_time()
    store.clean_up()
    figures = {
        "vectors": float(vectors),
        "build_index_s": round(time.perf_counter() - start, 1),
        "build_index_cpu_s": round(time.process_time() - cpu_start, 1),
    }
    rng = random.Random(2)
    queries = [[rng.gauss(0, 1) for _ in range(DIMENSIONS)] for _ in range(50)]
    embedder = ScriptedEmbedder(lambda text: rng.choice(queries), dimensions=DIMENSIONS)
    index = PageIndex(folder, embedder)
    index.search("word1")
    results: list[set[int]] = []

    def nearest(number: int) -> None:
        results.append({row["page"] for row in index.store.nearest(queries[number], 50)[:10]})

    figures |= time_searches("nearest", nearest)
    for mode in get_args(SearchMode):
        words = [f"word{rng.randrange(vectors)}" for _ in queries]
        figures |= time_searches(mode, partial(_search, index, words, mode))
    figures["recall@10"] = round(_recall(results, queries, vectors), 3)
    return figures


def time_searches(name: str, search: Callable[[int], object]) -> dict[str, float]:
    """Return milliseconds of 50 searches: median, 95th percentile, and mean CPU time."""
    times = []
    cpu_start = time.process_time()
    for number in range(50):
        start = time.perf_counter()
        search(number)
        times.append(1000 * (time.perf_counter() - start))
    return {
        f"{name}_ms": round(statistics.median(times), 1),
        f"{name}_ms_p95": round(statistics.quantiles(times, n=20)[-1], 1),
        f"{name}_cpu_ms": round(20 * (time.process_time() - cpu_start), 1),
    }


def _search(index: PageIndex, words: Sequence[str], mode: SearchMode, number: int) -> None:
    index.search(words[number], mode=mode)


def _recall(results: Sequence[set[int]], queries: Sequence[Sequence[float]], count: int) -> float:
    """Return the share of the ten nearest of all vectors that are in the results."""
    columns = np.array(queries, np.float32).T
    cosines = np.concatenate([_matrix(batch) @ columns for batch in page_rows(count, 1)])
    nearest = np.argsort(-cosines, axis=0)[:10].T + 1
    pairs = zip(results, nearest.tolist(), strict=True)
    return float(np.mean([len(result & set(expected)) / 10 for result, expected in pairs]))


def _matrix(batch: Sequence[PageRow]) -> Any:
    return np.array([row.vector for row in batch], np.float32)


def main() -> None:
    """Measure, then print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ("rate", "memory", "search")
    parser.add_argument("--part", choices=parts, action="append", help="all by default")
    parser.add_argument("--pages", type=int, default=32, help="pages for the rate (32)")
    parser.add_argument("--model", help="a LLaVA, instead of random weights of ViT-L/14-336")
    parser.add_argument("--memory-pages", type=int, default=10_000, help="for the memory (10000)")
    parser.add_argument("--vectors", type=int, default=100_000)
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    for part in options.part or parts:
        with tempfile.TemporaryDirectory() as work:
            if part == "rate":
                results[part] = index_rate(Path(work), options.pages, options.model)
            elif part == "memory":
                results[part] = index_memory(Path(work), options.memory_pages)
            else:
                results[part] = search_times(Path(work) / "vectors", options.vectors)
        print(part, results[part], flush=True)
    print(json.dumps({**describe(), **results}))


if __name__ == "__main__":
    main()
