"""Question answering over drawn documents: right answers, and citations of the right page.

The pages are of the second renderer, not in the training data: a title, lines too small to read, a
total and perhaps a stamp, or a bar chart below a title. The questions have other phrasings than the
training data. Each page has an invisible text layer, as a scan with OCR, for its small print,
without the answer. A question names the subject of its document, two words of that layer, and its
answer is visible only: "In the document about copper kettles: what sum closes the document?" With
`--by title` there is no text layer; the question names the page's title, so search has to read it.

`--kinds shape` has questions about the colour of a shape on the page, for a model that does not
read: it measures search and citation without the reading.

Reported: how often the page was searched, cited, the answer right, and both of the last two.

    python -m benchmarks.drawn_documents [--questions 100] [--model tiny] [--by subject] [--no-zoom]
        [--text]
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

from benchmarks.drawn_pdf import DrawnPage, TextLine, write_pages
from benchmarks.machine import describe
from llava_tools import Llava
from llava_tools.embedding import Embedder
from llava_tools.retrieval import PageIndex, ask
from llava_tools.tools.compare import normalize_answer
from recipes.tiny_llava import stranger
from recipes.tiny_llava.fonts import HELD_OUT, font
from recipes.tiny_llava.strings import listed
from recipes.tiny_llava.words import pick

KINDS = ("title", "total", "stamp", "tallest", "shortest")
SHAPE = "shape"
PAGES_PER_FILE = 5
SEED = 5_000_011


@dataclass(frozen=True)
class Case:
    """A page, the text of its small print, and a question about it."""

    kind: str
    image: Image.Image
    title: str
    subject: tuple[str, str]
    text: str
    visual_question: str
    answer: str

    def question(self, by: str) -> str:
        """Return the question, with the title or subject of its page."""
        if by == "title":
            return f"On the page with the title {self.title}: {self.visual_question}"
        return f"In the document about {self.subject[0]} {self.subject[1]}: {self.visual_question}"


def draw_cases(count: int, kinds: Sequence[str] = KINDS, seed: int = SEED) -> list[Case]:
    """Draw pages, the kinds of questions by turns; titles and subjects are all different."""
    rng = np.random.default_rng(seed)
    cases: list[Case] = []
    titles: set[str] = set()
    words = [str(word) for word in rng.permutation(listed())]
    while len(cases) < count:
        kind = kinds[len(cases) % len(kinds)]
        page = _draw(rng, kind)
        if page is None or page[1] in titles:
            continue
        image, title, question, answer = page
        subject = (words[2 * len(cases)], words[2 * len(cases) + 1])
        if answer.lower() in subject:
            continue
        titles.add(title)
        body = [word for word in rng.choice(listed(), 40).tolist() if word != answer.lower()]
        body[3:3] = subject
        body[30:30] = subject
        cases.append(Case(kind, image, title, subject, " ".join(body), question, answer))
    return cases


def _draw(rng: np.random.Generator, kind: str) -> tuple[Image.Image, str, str, str] | None:
    """Return a page, its title, a question and the answer; None if the page has no answer."""
    if kind == SHAPE:
        return _shape(rng)
    return _chart(rng, kind) if kind in ("tallest", "shortest") else _page(rng, kind)


def _shape(rng: np.random.Generator) -> tuple[Image.Image, str, str, str] | None:
    """One shape; the title is not drawn."""
    scene = stranger.sample_scene(rng)
    if len(scene.shapes) != 1:
        return None
    (shape,) = scene.shapes
    title = str(rng.integers(10**9))
    image = stranger.draw_scene(scene, rng).image
    return image, title, f"what colour is the {shape.kind}?", shape.colour


def _page(rng: np.random.Generator, kind: str) -> tuple[Image.Image, str, str, str] | None:
    page, image = stranger.draw_page(rng)
    question = stranger.ask(page, kind, rng)
    return None if question is None else (image, page.title.text, question.text, question.answer)


def _chart(rng: np.random.Generator, kind: str) -> tuple[Image.Image, str, str, str]:
    """A bar chart below a title."""
    chart, bars = stranger.draw_chart(rng, labelled=bool(rng.random() < 0.4))
    title = pick(rng, listed()).title()
    image = Image.new("RGB", (bars.width, bars.height + 40), "white")
    image.paste(bars, (0, 40))
    letters = font(pick(rng, HELD_OUT), 26)
    ImageDraw.Draw(image).text((112, 22), title, fill=(25, 25, 30), font=letters, anchor="mm")
    question = stranger.ask(chart, kind, rng)
    assert question is not None
    return image, title, question.text, question.answer


def write_pdfs(folder: Path, cases: Sequence[Case], by: str) -> None:
    """Write the pages as PDFs in order, `PAGES_PER_FILE` in each."""
    folder.mkdir()
    for start in range(0, len(cases), PAGES_PER_FILE):
        pages = [_page_with_text(case, by) for case in cases[start : start + PAGES_PER_FILE]]
        write_pages(folder / f"{start // PAGES_PER_FILE:04}.pdf", pages)


def _page_with_text(case: Case, by: str) -> DrawnPage:
    width, height = (2.0 * length for length in case.image.size)
    words = case.text.split()
    texts = [" ".join(words[start : start + 6]) for start in range(0, len(words), 6)]
    layer = [
        TextLine(text, 20, height - 100 - 20 * row, 8, visible=False)
        for row, text in enumerate(texts)
    ]
    return DrawnPage((width, height), layer if by == "subject" else (), image=case.image)


def measure(
    index: PageIndex, model: Llava, cases: Sequence[Case], by: str, **options: Any
) -> dict[str, dict[str, float]]:
    """Return the shares of each kind and of all."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in (*KINDS, SHAPE, "all")}
    for number, case in enumerate(cases):
        page = (f"{number // PAGES_PER_FILE:04}", number % PAGES_PER_FILE + 1)
        answer = ask(index, case.question(by), model, **options)
        cited = [(Path(item.document).stem, item.page) for item in answer.citations]
        others = [(Path(item.document).stem, item.page) for item in answer.others]
        right = normalize_answer(answer.text) == normalize_answer(case.answer)
        outcome = {
            "questions": True,
            "found": page in cited + others,
            "cited": page in cited,
            "right": right,
            "end_to_end": right and page in cited,
        }
        for group in (case.kind, "all"):
            counts[group].update(name for name, is_true in outcome.items() if is_true)
    return {
        group: {name: round(count[name] / count["questions"], 3) for name in outcome}
        | {"questions": count["questions"]}
        for group, count in counts.items()
        if count["questions"]
    }


def main() -> None:
    """Measure, print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--by", choices=("subject", "title"), default="subject")
    parser.add_argument("--k", type=int, default=3, help="pages per question (3)")
    parser.add_argument("--kinds", nargs="+", choices=(*KINDS, SHAPE), help="all but shape")
    parser.add_argument("--zoom", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--text",
        action=argparse.BooleanOptionalAction,
        help="give the model the pages' text, or not (as the model is used by default)",
    )
    options = parser.parse_args()
    kinds = options.kinds or (KINDS if options.by == "subject" else KINDS[1:])
    cases = draw_cases(options.questions, kinds)
    with tempfile.TemporaryDirectory() as work, Llava(options.model) as model:
        write_pdfs(Path(work) / "in", cases, options.by)
        index = PageIndex(Path(work) / "index", Embedder(options.model))
        index.update([Path(work) / "in"])
        # The texts are random words, which are no evidence for or against an answer.
        ask_options = {"k": options.k, "zoom": options.zoom, "with_text": options.text}
        ask_options["min_evidence"] = 0
        results = measure(index, model, cases, options.by, **ask_options)
    for kind, figures in results.items():
        print(f"{kind:9}", *(f"{name} {value:<6}" for name, value in figures.items()))
    print(json.dumps({"benchmark": "drawn_documents", **vars(options), **describe(), **results}))


if __name__ == "__main__":
    main()
