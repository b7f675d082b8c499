"""Page retrieval where a third of the pages have no text layer, by text, by image and by both.

`manuals`: the manuals and questions of `benchmarks.pages`; each third page is replaced by its
rendering. A model that cannot read pages finds these by nothing, and must not spoil the others.

`drawn`: pages with a drawn scene each, and below it a text layer with a caption and small print of
random words; each third page has no text layer. The queries are other captions of the scenes: of
all that a scene shows, and of a part, which other scenes may show too. The embedded model sees
such scenes, which are not in its training data.

    python -m benchmarks.stripped_pages [--folder manuals] [--indexes DIR] [--model tiny]
        [--decide]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pypdfium2

from benchmarks.drawn_pdf import DrawnPage, TextLine, write_pages
from benchmarks.machine import describe
from benchmarks.pages import (
    INDEXES_HELP,
    Pair,
    examine,
    index_folder,
    make_pairs,
    pairs,
    table,
)
from examples.debian_manuals import get_manuals
from llava_tools.embedding import Embedder
from llava_tools.retrieval import PageIndex
from recipes.tiny_llava.retrieval import strange_whole, trial
from recipes.tiny_llava.strings import listed

#: Each page whose number it divides has no text layer.
THIRD = 3
DPI = 120
DRAWN_PAGES = 150
PAGES_PER_FILE = 6
SMALL_PRINT_WORDS = 40


def is_stripped(page: int) -> bool:
    """Return whether a page of a document, numbered from 1, loses its text layer."""
    return page % THIRD == 0


def strip_manuals(source: Path, target: Path) -> None:
    """Copy PDFs; each third page is only its image."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.pdf")):
        if (target / path.name).is_file():
            continue
        manual, stripped = pypdfium2.PdfDocument(path), pypdfium2.PdfDocument.new()
        for index, page in enumerate(manual):
            if is_stripped(index + 1):
                image = page.render(scale=DPI / 72).to_pil()
                scan = write_pages(target / "scan.tmp", [DrawnPage(page.get_size(), image=image)])
                stripped.import_pages(pypdfium2.PdfDocument(scan.read_bytes()))
                scan.unlink()
            else:
                stripped.import_pages(manual, [index])
        stripped.save(target / path.name)


def draw_pages(folder: Path, count: int, seed: int) -> dict[str, list[Pair]]:
    """Write PDFs of drawn scenes; return captions of each scene and of a part of it."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = trial("own", count, seed)
    rng = np.random.default_rng((seed, count))
    pages: dict[str, list[DrawnPage]] = {}
    places = []
    for index, (scene, image) in enumerate(zip(drawn.scenes, drawn.images, strict=True)):
        name, page = f"{index // PAGES_PER_FILE:04}", index % PAGES_PER_FILE + 1
        words = [f"Figure {index + 1}.", *strange_whole(scene, rng).text.split()]
        words += rng.choice(listed(), SMALL_PRINT_WORDS).tolist()
        lines = [] if is_stripped(page) else _lines(words)
        width, height = (2.0 * length for length in image.size)
        pages.setdefault(name, []).append(DrawnPage((width, height), lines, image=image))
        places.append((name, page))
    for name, document in pages.items():
        write_pages(folder / f"{name}.pdf", document)
    return make_pairs(drawn, places)


def _lines(words: Sequence[str]) -> list[TextLine]:
    texts = [" ".join(words[start : start + 8]) for start in range(0, len(words), 8)]
    return [TextLine(text, 20, 90 - 10 * row, 8, visible=False) for row, text in enumerate(texts)]


def by_layer(queries: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Return all queries; those whose pages all have a text layer; those whose pages have none."""
    parts: dict[str, list[Pair]] = {"all": list(queries), "with a text": [], "without": []}
    for query in queries:
        kinds = {is_stripped(page) for _, page in query[1]}
        if len(kinds) == 1:
            parts["without" if kinds.pop() else "with a text"].append(query)
    return parts


def main() -> None:
    """Measure, print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("manuals"))
    parser.add_argument("--indexes", type=Path, help=INDEXES_HELP)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--decide", action="store_true", help="use the tuning questions and images")
    options = parser.parse_args()
    figures: dict[str, dict[str, dict[str, float]]] = {}
    weights = {}
    part, seed = ("tuning", 13) if options.decide else ("shown", 3)
    with index_folder(options.indexes) as work:
        strip_manuals(get_manuals(options.folder), work / "stripped_manuals")
        queries = {"manuals": {"questions": pairs(part)}}
        queries["drawn"] = draw_pages(work / f"stripped_drawn{seed}", DRAWN_PAGES, seed)
        for kind, folder in (("manuals", "manuals"), ("drawn", f"drawn{seed}")):
            index = PageIndex(work / f"index_{folder}", Embedder(options.model))
            index.update([work / f"stripped_{folder}"])
            weights[kind] = index.stats().image_weight
            for name, all_pairs in queries[kind].items():
                sets = {f"{name}, {layer}": part for layer, part in by_layer(all_pairs).items()}
                figures |= examine(index, kind, sets)
    print(table(figures))
    print(json.dumps({**describe(), "retrieval": figures, "image_weight": weights}))


if __name__ == "__main__":
    main()
