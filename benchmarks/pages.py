"""How well questions find pages: by texts, by pictures, by both.

On real manuals with figures (242 pages of seven PDFs out of Debian packages), with question-page
pairs that were written from them: `shown`, reported, and `tuning`, from other documents, to decide
by. And on the same manuals together with drawn pictures that have no text, with captions as further
queries.

    python -m benchmarks.pages [--folder manuals] [--model tiny] [--pictures 200]
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
from examples.manuals import get_manuals
from llava_tools.embedding import Embedder
from llava_tools.retrieval import PageIndex
from llava_tools.retrieval.search import Mode
from llava_tools.train.retrieve import trial

K = 5
PAIRS = Path(__file__).with_name("page_questions.json")

#: A query, and its right pages: names of documents without ending, and numbers.
Pair = tuple[str, frozenset[tuple[str, int]]]


def pairs(part: str) -> list[Pair]:
    """Return the questions of a part with their pages."""
    told = json.loads(PAIRS.read_text())[part]
    return [(words, frozenset((name, page) for page in pages)) for name, pages, words in told]


def measure(index: PageIndex, asked: Sequence[Pair], mode: Mode) -> dict[str, float]:
    """Return recall and nDCG of the first five pages, means over the queries."""
    recall = gain = 0.0
    for words, right in asked:
        hits = index.search(words, K, mode=mode)
        found = [(Path(hit.document).stem, hit.page) in right for hit in hits]
        ideal = sum(1 / math.log2(rank + 2) for rank in range(min(K, len(right))))
        recall += sum(found) / min(K, len(right))
        gain += sum(hit / math.log2(rank + 2) for rank, hit in enumerate(found)) / ideal
    return {"recall@5": round(recall / len(asked), 3), "ndcg@5": round(gain / len(asked), 3)}


def drawn(folder: Path, many: int) -> list[Pair]:
    """Draw pictures that were never trained on; return their captions, each with its picture."""
    folder.mkdir()
    one = trial("own", many)
    captions = []
    for place, (picture, caption) in enumerate(zip(one.pictures, one.wholes, strict=True)):
        picture.save(folder / f"drawn{place}.png")
        captions.append((caption.text, frozenset({(f"drawn{place}", 1)})))
    return captions


def main() -> None:
    """Measure, print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("manuals"))
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--pictures", type=int, default=100, help="drawn pictures (100)")
    options = parser.parse_args()
    folder = get_manuals(options.folder)
    told: dict[str, dict[str, dict[str, float]]] = {}
    weights = {}
    with tempfile.TemporaryDirectory() as work:
        index = PageIndex(Path(work) / "index", Embedder(options.model))
        index.update([folder])
        weights["manuals"] = index.store.picture_weight
        asked = {"shown": pairs("shown"), "tuning": pairs("tuning")}
        tests = [("manuals, shown", asked["shown"]), ("manuals, tuning", asked["tuning"])]
        for name, test in tests:
            told[name] = {mode: measure(index, test, mode) for mode in get_args(Mode)}
        captions = drawn(Path(work) / "drawn", options.pictures)
        index.update([Path(work) / "drawn"])
        weights["with pictures"] = index.store.picture_weight
        for name, test in (("both, shown", asked["shown"]), ("both, captions", captions)):
            told[name] = {mode: measure(index, test, mode) for mode in get_args(Mode)}
    for name, modes in told.items():
        print(name, *(f"{mode} {list(figures.values())}" for mode, figures in modes.items()))
    print(json.dumps({**describe(), "retrieval": told, "picture_weight": weights}))


if __name__ == "__main__":
    main()
