"""Questions that the documents do not answer: how many of them `ask` refuses.

Each question of `benchmarks.pages` is put twice: to all manuals of its part, and to the same
manuals without the one that answers it; the others are about similar programs. Counted is how often
the pages that are found have enough evidence (`llava_tools.retrieval.evidence`), which needs no
model. `MIN_EVIDENCE` was chosen on the `tuning` questions.

    python -m benchmarks.unanswerable [--folder manuals] [--evidence 0.36]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.pages import Pair, pairs
from examples.debian_manuals import get_manuals
from llava_tools.retrieval import PageIndex
from llava_tools.retrieval.evidence import MIN_EVIDENCE, text_evidence
from llava_tools.testing import ScriptedEmbedder

K = 3


def examine(folder: Path, work: Path, questions: Sequence[Pair], least: float) -> dict[str, float]:
    """Return the share of answerable questions that are kept, and of the others that are refused.

    `kept_if_found` is that of the answerable ones whose page is among the first `K`.
    """
    names = sorted({name for _, targets in questions for name, _ in targets})
    whole = _index(folder, work / "whole", names)
    others = {
        name: _index(folder, work / name, [other for other in names if other != name])
        for name in names
    }
    kept = kept_if_found = found = refused = 0
    for question, targets in questions:
        hits = whole.search(question, K, mode="text", min_coverage=0)
        is_found = any((Path(hit.document).stem, hit.page) in targets for hit in hits)
        is_kept = text_evidence(whole, question, hits) >= least
        kept += is_kept
        found += is_found
        kept_if_found += is_found and is_kept
        without = others[next(iter(targets))[0]]
        hits = without.search(question, K, mode="text", min_coverage=0)
        refused += text_evidence(without, question, hits) < least
    count = len(questions)
    return {
        "questions": count,
        "kept": round(kept / count, 3),
        "kept_if_found": round(kept_if_found / found, 3),
        "refused": round(refused / count, 3),
    }


def _index(folder: Path, path: Path, names: Sequence[str]) -> PageIndex:
    index = PageIndex(path, ScriptedEmbedder())
    index.update([folder / f"{name}.pdf" for name in names])
    return index


def main() -> None:
    """Measure, print a line for each part, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("manuals"))
    parser.add_argument("--evidence", type=float, default=MIN_EVIDENCE)
    options = parser.parse_args()
    folder = get_manuals(options.folder)
    figures = {}
    for part in ("tuning", "shown"):
        with tempfile.TemporaryDirectory() as work:
            figures[part] = examine(folder, Path(work), pairs(part), options.evidence)
        print(f"{part:7}", *(f"{name} {value:<6}" for name, value in figures[part].items()))
    print(json.dumps({"benchmark": "unanswerable", **describe(), **figures}))


if __name__ == "__main__":
    main()
