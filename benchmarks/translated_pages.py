"""Page retrieval in German, French, Spanish and Japanese, and of section titles.

Manuals come from Debian packages that `examples/` does not use. 18 questions for each of four
languages were written from pages of the Debian Reference, none with the words of its section's
title on purpose (`page_questions_translated.json`); each language has an index of its own with
the Maintainers' Guide beside it. `titles` are 52 section titles of the manuals of gnuplot and
liboctave from their outlines: all of liboctave's, every 24th of gnuplot's.

    python -m benchmarks.translated_pages [--parts de fr es ja titles] [--folder manuals]
        [--indexes DIR]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.pages import INDEXES_HELP, examine, index_folder, pairs, table
from examples.debian_manuals import get_manuals
from llava_tools.embedding import Embedder
from llava_tools.retrieval import PageIndex

QUESTIONS = Path(__file__).with_name("page_questions_translated.json")
LANGUAGES = ("de", "fr", "es", "ja")
#: Packages of each part, and their PDFs.
PACKAGES = {
    language: {
        f"debian-reference-{language}": [f"debian-reference.{language}"],
        f"maint-guide-{language}": [f"maint-guide.{language}"],
    }
    for language in LANGUAGES
} | {"titles": {"gnuplot-doc": ["gnuplot"], "octave-doc": ["liboctave"]}}


def main() -> None:
    """Measure, print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("manuals"))
    parser.add_argument("--indexes", type=Path, help=INDEXES_HELP)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--parts", nargs="+", choices=PACKAGES, default=list(PACKAGES))
    options = parser.parse_args()
    figures: dict[str, dict[str, dict[str, float]]] = {}
    weights = {}
    with index_folder(options.indexes) as work:
        for part in options.parts:
            get_manuals(options.folder / part, PACKAGES[part])
            index = PageIndex(work / part, Embedder(options.model))
            index.update([options.folder / part])
            weights[part] = index.stats().image_weight
            figures |= examine(index, "own manuals", {part: pairs(part, QUESTIONS)})
    print(table(figures))
    print(json.dumps({**describe(), "retrieval": figures, "image_weight": weights}))


if __name__ == "__main__":
    main()
