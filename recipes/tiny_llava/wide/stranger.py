"""A stranger's questions about writing, charts and pages: for evaluation only, never for training.

Written by hand, whole, and not composed by the templates of :mod:`.phrasings` (a test holds that).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from recipes.tiny_llava.words import Question, pick

from . import held_out
from .things import Page, Wide

WORDS: dict[str, tuple[str, ...]] = {
    "number": (
        "Someone painted a number. Which one?",
        "Could you read me that number, please?",
        "I can't make out the number, can you?",
        "What's the figure you can read off this image?",
        "Please read off the number.",
        "The image holds a number; what is it?",
        "To which number does this image refer?",
        "Could you type the number I am looking at?",
    ),
    "word": (
        "I can't read this. What does it say, please?",
        "Someone wrote a word here. Which word is it?",
        "Could you read me the text in this image?",
        "What word did they write?",
        "Please read off what is written.",
        "The image holds one word; what is it?",
        "Read me the letters from left to right.",
        "What would I read if I could see this image?",
    ),
    "tallest": (
        "Among all the bars, which one rises highest?",
        "Which bar wins if height counts?",
        "Tell me the bar with the greatest height.",
        "Of these bars, which has the most height?",
        "Which bar stands above all the others?",
        "Say which bar reaches the top.",
        "Where does the chart peak? Name that bar.",
        "Point me to the bar that no other one tops.",
        "If these bars were people, who would be the biggest?",
    ),
    "shortest": (
        "Among all the bars, which one is the least high?",
        "Which bar loses if height counts?",
        "Tell me the bar with the least height.",
        "Of these bars, which has the smallest height?",
        "Which bar stays below all the others?",
        "Say which bar reaches up the least.",
        "Where is the chart at its lowest? Name that bar.",
        "Point me to the bar that all the others top.",
        "If these bars were people, who would be the smallest?",
    ),
    "title": (
        "Which word stands over everything as a title?",
        "Could you read me the page's title?",
        "Under what title does this document run?",
        "What did they call this document in its heading?",
        "What word heads the page?",
        "I need the document's title.",
    ),
    "total": (
        "Which total do you find at the bottom?",
        "Could you read me the page's total?",
        "I need the total that this document gives.",
        "What do I have to pay in total?",
        "Which amount stands beside the word total?",
        "What sum closes the document?",
    ),
    "stamp": (
        "Someone stamped this page. In which color?",
        "Which color did they stamp the page with?",
        "I see a stamp; its color, please?",
        "Could you tell the stamp's colour?",
        "What color of ink does the stamp have?",
        "The stamp on this page has which colour?",
    ),
    "count lines": (
        "How many lines of small print does the page have?",
        "Count the text lines between title and total, please.",
        "I wonder how many lines there are on the page.",
        "Could you count all lines of text?",
        "The body of the page has how many lines?",
        "Lines of text: how many do you count?",
    ),
    "bar's colour": (
        "Bar {label}: in which colour?",
        "What color did they give bar {label}?",
        "The bar over the letter {label} has which color?",
        "Say which colour fills bar {label}.",
        "I'm looking at bar {label}; what colour do I see?",
        "With which color is {label} drawn?",
    ),
    "count bars": (
        "How many bars make up this chart?",
        "Of how many bars does the diagram consist?",
        "I'd like to know the number of bars, please.",
        "How many different bars can one compare here?",
        "Could you count all bars for me?",
        "Bars: how many do we have?",
    ),
    "stamp there": (
        "Did anyone stamp this page?",
        "Can a stamp be found on this page?",
        "Look for a stamp. Is there one?",
        "Am I right that this page has a stamp?",
        "Was a stamp put on this document?",
        "I wonder, is this page stamped?",
    ),
}
KINDS = (
    "number",
    "word",
    "letters",
    "tallest",
    "shortest",
    "title",
    "total",
    "stamp",
    "count lines",
    "bar's colour",
    "count bars",
    "stamp there",
)


def item(kind: str, rng: np.random.Generator) -> tuple[Question, Image.Image] | None:
    """A stranger's question of that kind with its picture, or ``None`` where it has no answer."""
    words = pick(rng, WORDS["word" if kind == "letters" else kind])
    sight: Wide
    if kind in ("number", "word", "letters"):
        sight, picture = held_out.writing(rng, kind)
        return Question(kind, words, sight.line.text), picture
    if kind in ("bar's colour", "count bars"):
        sight, picture = held_out.chart(rng, labelled=kind == "bar's colour")
        bar = pick(rng, sight.bars)
        words = words.format(label=bar.label.text if bar.label else "")
        return Question(kind, words, bar.colour if bar.label else str(len(sight.bars))), picture
    if kind in ("tallest", "shortest"):
        sight, picture = held_out.chart(rng, labelled=bool(rng.random() < 0.4))
        bar = sight.tallest if kind == "tallest" else sight.shortest
        return Question(kind, words, bar.label.text if bar.label else bar.colour), picture
    sight, picture = held_out.page(rng)
    if kind == "stamp there" and sight.stamp is not None and rng.random() < 1 / 3:
        return None  # three pages in five have one: so yes and no are asked for alike
    answer = _of_page(sight, kind)
    return None if answer is None else (Question(kind, words, answer), picture)


def _of_page(page: Page, kind: str) -> str | None:
    if kind == "title":
        return page.title.text
    if kind == "total":
        return page.total.text
    if kind == "count lines":
        return str(len(page.strokes))
    if kind == "stamp there":
        return "no" if page.stamp is None else "yes"
    return page.stamp.colour if page.stamp is not None else None
