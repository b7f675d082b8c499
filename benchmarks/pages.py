"""Page retrieval: how well questions find pages by their texts, by their images, and by both.

The pages are of real manuals with figures: 242 pages of seven PDFs from Debian packages. Each
question was written from one of these pages: `shown` questions are reported; `tuning` questions,
from other documents, are for choosing parameters. `--mixed` adds drawn images without text to the
index, and captions to the queries: of all that an image shows, and of a part, which other images
may show too. `--decide` uses the `tuning` questions and other images than the reported ones.

    python -m benchmarks.pages [--mixed] [--decide] [--folder manuals] [--model tiny]
        [--indexes DIR]
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from benchmarks.machine import describe
from examples.debian_manuals import get_manuals
from llava_tools.embedding import Embedder
from llava_tools.retrieval import PageIndex
from llava_tools.retrieval.search import SearchMode
from recipes.tiny_llava.retrieval import Trial, trial

K = 5
INDEXES_HELP = "folder that keeps the indexes for further runs; by default they are removed"
PAIRS = Path(__file__).with_name("page_questions.json")

#: A query, and its right pages: names of documents without ending, and numbers.
Pair = tuple[str, frozenset[tuple[str, int]]]


def pairs(part: str, file: Path = PAIRS) -> list[Pair]:
    """Return the questions of a part of a file with their pages."""
    rows = json.loads(file.read_text())[part]
    return [(text, frozenset((name, page) for page in pages)) for name, pages, text in rows]


def measure(index: PageIndex, queries: Sequence[Pair], mode: SearchMode) -> dict[str, float]:
    """Return the share of right first pages, and mean recall and nDCG of the first five."""
    first = recall = gain = 0.0
    for query, targets in queries:
        hits = index.search(query, K, mode=mode)
        right = [(Path(hit.document).stem, hit.page) in targets for hit in hits]
        ideal = sum(1 / math.log2(rank + 2) for rank in range(min(K, len(targets))))
        first += any(right[:1])
        recall += sum(right) / min(K, len(targets))
        gain += sum(hit / math.log2(rank + 2) for rank, hit in enumerate(right)) / ideal
    figures = {"first": first, "recall@5": recall, "ndcg@5": gain}
    return {name: round(figure / len(queries), 3) for name, figure in figures.items()}


def draw_images(folder: Path, count: int, seed: int) -> dict[str, list[Pair]]:
    """Draw images that no model was trained on; return captions of each and of a part of it."""
    folder.mkdir(exist_ok=True)
    images = trial("own", count, seed)
    names = [f"drawn{number}" for number in range(count)]
    for name, image in zip(names, images.images, strict=True):
        image.save(folder / f"{name}.png")
    return make_pairs(images, [(name, 1) for name in names])


def make_pairs(images: Trial, pages: Sequence[tuple[str, int]]) -> dict[str, list[Pair]]:
    """Return captions of each image and of a part of it, with the pages that have such images."""
    wholes = [
        (caption.text, frozenset({page}))
        for caption, page in zip(images.wholes, pages, strict=True)
    ]
    scenes = list(zip(images.scenes, pages, strict=True))
    parts = [
        (caption.text, frozenset(page for scene, page in scenes if caption.holds(scene)))
        for caption in images.parts
    ]
    return {"captions": wholes, "captions of a part": parts}


@contextmanager
def index_folder(folder: Path | None) -> Iterator[Path]:
    """Yield a folder for indexes: this one, or a new one that is removed at the end."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as work:
        yield Path(work)


def main() -> None:
    """Measure, print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("manuals"))
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--indexes", type=Path, help=INDEXES_HELP)
    parser.add_argument("--mixed", action="store_true", help="add drawn images to the index")
    parser.add_argument("--decide", action="store_true", help="use the tuning questions and images")
    parser.add_argument("--images", type=int, default=100, help="number of drawn images (100)")
    options = parser.parse_args()
    folder = get_manuals(options.folder)
    parts = ("tuning",) if options.decide else ("shown", "tuning")
    queries = {f"{part} questions": pairs(part) for part in parts}
    figures: dict[str, dict[str, dict[str, float]]] = {}
    weights = {}
    with index_folder(options.indexes) as work:
        index = PageIndex(work / "manuals", Embedder(options.model))
        index.update([folder])
        weights["manuals"] = index.calibration.image_weight
        figures |= examine(index, "manuals", queries)
        if options.mixed:
            name = f"drawn{options.images}{'_decide' if options.decide else ''}"
            queries |= draw_images(work / name, options.images, 11 if options.decide else 0)
            index = PageIndex(work / f"manuals_{name}", Embedder(options.model))
            index.update([folder, work / name])
            weights["with images"] = index.calibration.image_weight
            figures |= examine(index, "with images", queries)
    print(table(figures))
    print(json.dumps({**describe(), "retrieval": figures, "image_weight": weights}))


def examine(
    index: PageIndex, name: str, queries: dict[str, list[Pair]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the figures of each set of queries and mode."""
    return {
        f"{name}: {part}": {
            mode: measure(index, queries[part], mode) for mode in get_args(SearchMode)
        }
        for part in queries
    }


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return a Markdown table: a row for each index, queries and mode."""
    lines = ["| index: queries | mode | first | recall@5 | nDCG@5 |", "|-|-|-|-|-|"]
    for name, modes in results.items():
        for mode, figures in modes.items():
            cells = " | ".join(f"{figure:.3f}" for figure in figures.values())
            lines.append(f"| {name} | {mode} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
