"""From a question to the right answer with the right page cited, over drawn documents.

Pages of the second renderer, never trained on: a title, lines too small to read, a total and
perhaps a stamp, or a bar chart under a title; questions in a stranger's words. Every page has an
invisible text layer, as behind a scan, with what the small print would say; no answer is in it. A
question names the subject of its document, two words of that layer, and asks for what has to be
seen: "In the document about copper kettles: what sum closes the document?" With `--by title`
there is no text layer at all, and the question names the page's title, which must be read to be
found.

`--kinds shape` asks for the colour of a shape on the page instead, which a model can tell that does
not read: with it, the way from question to citation is measured and not the reading.

Told: how often the page was among those asked, was cited, the answer was right, and both.

    python -m benchmarks.drawn_documents [--questions 100] [--model tiny] [--by subject] [--no-zoom]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.drawn_pdf import DrawnPage, Words, write_drawn
from benchmarks.machine import describe
from llava_tools import Llava
from llava_tools.embedding import Embedder
from llava_tools.retrieval import PageIndex, ask
from llava_tools.tools.compare import plain
from recipes.tiny_llava import held_out as shapes
from recipes.tiny_llava.wide import held_out, stranger
from recipes.tiny_llava.wide.fonts import HELD_OUT, font
from recipes.tiny_llava.wide.strings import LISTED
from recipes.tiny_llava.words import pick

KINDS = ("title", "total", "stamp", "tallest", "shortest")
SHAPE = "shape"
PAGES_A_FILE = 5
SEED = 5_000_011


@dataclass(frozen=True)
class Case:
    """A page, what its small print says, and a question about it."""

    kind: str
    image: Image.Image
    title: str
    subject: tuple[str, str]
    text: str
    asked: str
    answer: str

    def question(self, by: str) -> str:
        """Return the question, with what the page is found by."""
        if by == "title":
            return f"On the page with the title {self.title}: {self.asked}"
        return f"In the document about {self.subject[0]} {self.subject[1]}: {self.asked}"


def cases(many: int, kinds: Sequence[str] = KINDS, seed: int = SEED) -> list[Case]:
    """Draw pages, the kinds of questions by turns; titles and subjects are all different."""
    rng = np.random.default_rng(seed)
    made: list[Case] = []
    titles: set[str] = set()
    words = [str(word) for word in rng.permutation(LISTED)]
    while len(made) < many:
        kind = kinds[len(made) % len(kinds)]
        drawn = _drawn(rng, kind)
        if drawn is None or drawn[1] in titles:
            continue
        image, title, asked, answer = drawn
        subject = (words[2 * len(made)], words[2 * len(made) + 1])
        if answer.lower() in subject:
            continue
        titles.add(title)
        body = [word for word in rng.choice(LISTED, 40).tolist() if word != answer.lower()]
        body[3:3] = subject
        body[30:30] = subject
        made.append(Case(kind, image, title, subject, " ".join(body), asked, answer))
    return made


def _drawn(rng: np.random.Generator, kind: str) -> tuple[Image.Image, str, str, str] | None:
    """Return a page, its title, a question and the answer, or None where it cannot be asked."""
    if kind == SHAPE:
        return _shape(rng)
    return _chart(rng, kind) if kind in ("tallest", "shortest") else _page(rng, kind)


def _shape(rng: np.random.Generator) -> tuple[Image.Image, str, str, str] | None:
    """One shape; the title is not drawn."""
    scene = shapes.sample(rng)
    if len(scene.shapes) != 1:
        return None
    (shape,) = scene.shapes
    title = str(rng.integers(10**9))
    return shapes.render(scene, rng), title, f"what colour is the {shape.kind}?", shape.colour


def _page(rng: np.random.Generator, kind: str) -> tuple[Image.Image, str, str, str] | None:
    page, image = held_out.page(rng)
    answers = {
        "title": page.title.text,
        "total": page.total.text,
        "stamp": page.stamp.colour if page.stamp else None,
    }
    answer = answers[kind]
    asked = pick(rng, stranger.WORDS[kind])
    return None if answer is None else (image, page.title.text, asked, answer)


def _chart(rng: np.random.Generator, kind: str) -> tuple[Image.Image, str, str, str]:
    """A bar chart below a title."""
    chart, bars = held_out.chart(rng, labelled=bool(rng.random() < 0.4))
    title = pick(rng, LISTED).title()
    image = Image.new("RGB", (held_out.SIDE, held_out.SIDE + 40), "white")
    image.paste(bars, (0, 40))
    letters = font(pick(rng, HELD_OUT), 26)
    ImageDraw.Draw(image).text((112, 22), title, fill=(25, 25, 30), font=letters, anchor="mm")
    bar = chart.tallest if kind == "tallest" else chart.shortest
    answer = bar.label.text if bar.label else bar.colour
    return image, title, pick(rng, stranger.WORDS[kind]), answer


def write(folder: Path, drawn: Sequence[Case], by: str) -> None:
    """Write the pages as PDFs, several a file; a page's place is its number in the list."""
    folder.mkdir()
    for start in range(0, len(drawn), PAGES_A_FILE):
        pages = [_printed(case, by) for case in drawn[start : start + PAGES_A_FILE]]
        write_drawn(folder / f"{start // PAGES_A_FILE:04}.pdf", pages)


def _printed(case: Case, by: str) -> DrawnPage:
    width, height = (2.0 * length for length in case.image.size)
    words = case.text.split()
    lines = [" ".join(words[start : start + 6]) for start in range(0, len(words), 6)]
    layer = [
        Words(line, 20, height - 100 - 20 * place, 8, seen=False)
        for place, line in enumerate(lines)
    ]
    return DrawnPage((width, height), layer if by == "subject" else (), image=case.image)


def measure(
    index: PageIndex, model: Llava, drawn: Sequence[Case], by: str, **options: Any
) -> dict[str, dict[str, float]]:
    """Return the shares of each kind and of all."""
    told: dict[str, Counter[str]] = {kind: Counter() for kind in (*KINDS, SHAPE, "all")}
    for place, case in enumerate(drawn):
        page = (f"{place // PAGES_A_FILE:04}", place % PAGES_A_FILE + 1)
        found = ask(index, case.question(by), model, **options)
        cited = [(Path(one.document).stem, one.page) for one in found.citations]
        others = [(Path(one.document).stem, one.page) for one in found.others]
        right = plain(found.text) == plain(case.answer)
        shown = {
            "questions": True,
            "found": page in cited + others,
            "cited": page in cited,
            "right": right,
            "end_to_end": right and page in cited,
        }
        for group in (case.kind, "all"):
            told[group].update(name for name, is_so in shown.items() if is_so)
    return {
        group: {name: round(counts[name] / counts["questions"], 3) for name in shown}
        | {"questions": counts["questions"]}
        for group, counts in told.items()
        if counts["questions"]
    }


def main() -> None:
    """Measure, print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--by", choices=("subject", "title"), default="subject")
    parser.add_argument("--k", type=int, default=3, help="pages asked a question (3)")
    parser.add_argument("--kinds", nargs="+", choices=(*KINDS, SHAPE), help="all but shape")
    parser.add_argument("--zoom", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    kinds = options.kinds or (KINDS if options.by == "subject" else KINDS[1:])
    drawn = cases(options.questions, kinds)
    with tempfile.TemporaryDirectory() as work, Llava(options.model) as model:
        write(Path(work) / "in", drawn, options.by)
        index = PageIndex(Path(work) / "index", Embedder(options.model))
        index.update([Path(work) / "in"])
        told = measure(index, model, drawn, options.by, k=options.k, zoom=options.zoom)
    for kind, figures in told.items():
        print(f"{kind:9}", *(f"{name} {value:<6}" for name, value in figures.items()))
    print(json.dumps({"benchmark": "drawn_documents", **vars(options), **describe(), **told}))


if __name__ == "__main__":
    main()
