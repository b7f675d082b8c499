"""How well questions find pages: by texts, by images, by both.

On real manuals with figures (242 pages of seven PDFs out of Debian packages), with question-page
pairs that were written from them: `shown`, reported, and `tuning`, from other documents, to decide
by. With `--mixed`, also on the same manuals together with drawn images that have no text, with
captions as further queries: of all that an image shows, and of a part, which others may show too.
With `--decide`, only what may be decided by: the `tuning` questions, and other images than those
that are reported.

    python -m benchmarks.pages [--mixed] [--decide] [--folder manuals] [--model tiny]
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from benchmarks.machine import describe
from examples.debian_manuals import get_manuals
from llava_tools.embedding import Embedder
from llava_tools.retrieval import PageIndex
from llava_tools.retrieval.search import Mode
from recipes.tiny_llava.retrieve import trial

K = 5
PAIRS = Path(__file__).with_name("page_questions.json")

#: A query, and its right pages: names of documents without ending, and numbers.
Pair = tuple[str, frozenset[tuple[str, int]]]


def pairs(part: str) -> list[Pair]:
    """Return the questions of a part with their pages."""
    told = json.loads(PAIRS.read_text())[part]
    return [(words, frozenset((name, page) for page in pages)) for name, pages, words in told]


def measure(index: PageIndex, asked: Sequence[Pair], mode: Mode) -> dict[str, float]:
    """Return how often the first page is right; recall and nDCG of the first five; means."""
    first = recall = gain = 0.0
    for words, right in asked:
        hits = index.search(words, K, mode=mode)
        found = [(Path(hit.document).stem, hit.page) in right for hit in hits]
        ideal = sum(1 / math.log2(rank + 2) for rank in range(min(K, len(right))))
        first += any(found[:1])
        recall += sum(found) / min(K, len(right))
        gain += sum(hit / math.log2(rank + 2) for rank, hit in enumerate(found)) / ideal
    told = {"first": first, "recall@5": recall, "ndcg@5": gain}
    return {name: round(figure / len(asked), 3) for name, figure in told.items()}


def drawn(folder: Path, many: int, seed: int) -> dict[str, list[Pair]]:
    """Draw images that were never trained on; return queries, each with its right images.

    Captions of all that an image shows, and of a part of it, which others may show as well.
    """
    folder.mkdir()
    one = trial("own", many, seed)
    names = [f"drawn{place}" for place in range(many)]
    for name, image in zip(names, one.pictures, strict=True):
        image.save(folder / f"{name}.png")
    right = [frozenset({(name, 1)}) for name in names]
    wholes = [(query.text, page) for query, page in zip(one.wholes, right, strict=True)]
    scenes = list(zip(one.scenes, right, strict=True))
    parts = [
        (query.text, frozenset[tuple[str, int]]().union(*(p for s, p in scenes if query.holds(s))))
        for query in one.parts
    ]
    return {"captions": wholes, "captions of a part": parts}


def main() -> None:
    """Measure, print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("manuals"))
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--mixed", action="store_true", help="with drawn pictures in the index too")
    parser.add_argument("--decide", action="store_true", help="not what is reported")
    parser.add_argument("--pictures", type=int, default=100, help="drawn pictures (100)")
    options = parser.parse_args()
    folder = get_manuals(options.folder)
    parts = ("tuning",) if options.decide else ("shown", "tuning")
    asked = {f"{part} questions": pairs(part) for part in parts}
    told: dict[str, dict[str, dict[str, float]]] = {}
    weights = {}
    with tempfile.TemporaryDirectory() as work:
        index = PageIndex(Path(work) / "index", Embedder(options.model))
        index.update([folder])
        weights["manuals"] = index.trust.images
        told |= {f"manuals: {name}": examine(index, test) for name, test in asked.items()}
        if options.mixed:
            asked |= drawn(Path(work) / "drawn", options.images, 11 if options.decide else 0)
            index.update([Path(work) / "drawn"])
            weights["with pictures"] = index.trust.images
            told |= {f"with pictures: {name}": examine(index, test) for name, test in asked.items()}
    print(table(told))
    print(json.dumps({**describe(), "retrieval": told, "picture_weight": weights}))


def examine(index: PageIndex, asked: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """Return the figures of each mode."""
    return {mode: measure(index, asked, mode) for mode in get_args(Mode)}


def table(told: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return a Markdown table: a row for each index, queries and mode."""
    lines = ["| index: queries | mode | first | recall@5 | nDCG@5 |", "|-|-|-|-|-|"]
    for name, modes in told.items():
        for mode, figures in modes.items():
            cells = " | ".join(f"{figure:.3f}" for figure in figures.values())
            lines.append(f"| {name} | {mode} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
