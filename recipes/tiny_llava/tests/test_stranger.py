"""The examination is answered by its pictures, and shares no words and fonts with training."""

import re

import numpy as np
import pytest

from recipes.tiny_llava.fonts import HELD_OUT, TRAINED
from recipes.tiny_llava.stranger import KINDS, TONES, draw_question, phrasings
from recipes.tiny_llava.things import Chart, Drawing, Scene
from recipes.tiny_llava.words import load, phrase


def seen(drawing: Drawing, kind: str, text: str, answer: str) -> str:
    """Return the answer as read from the pixels; as given where it is not checked."""
    pixels, picture = np.asarray(drawing.image, float), drawing.picture
    if kind == "count lines":
        return str((np.diff((pixels[44:185, 14, 0] < 200).astype(int)) > 0).sum())
    if isinstance(picture, Scene) and kind == "colour":
        [shape] = [shape for shape in picture.shapes if shape.kind in text]
        tone = pixels[int(shape.y * 192), int(shape.x * 192)]
    elif isinstance(picture, Chart) and kind != "bar's colour":
        dark = pixels[: round(picture.base * 224) - 4].min(axis=2) < 215
        steps = np.diff(np.median(dark[-20:], axis=0))
        bars = (np.flatnonzero(steps > 0) + np.flatnonzero(steps < 0)) // 2
        bar = np.argsort(dark[:, bars].sum(axis=0))[-1 if kind == "tallest" else 0]
        if kind == "count bars" or picture.lines:
            return str(len(bars)) if kind == "count bars" else "ABCDEF"[bar]
        tone = pixels[len(dark) - 5, bars[bar]]
    else:
        return answer
    return min(TONES, key=lambda name: min(abs(tone - t).sum() for t in TONES[name]))


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_answer_their_questions(kind: str) -> None:
    pairs = [draw_question(kind, np.random.default_rng(seed)) for seed in range(40)]
    assert len({pair[1].answer for pair in pairs if pair}) >= 2
    for drawing, question in filter(None, pairs):
        assert not set("<>{}") & set(question.text)
        assert seen(drawing, kind, question.text, question.answer) == question.answer


def pattern(template: str) -> str:
    """Return a regular expression of what a template composes, without case and punctuation."""
    text = re.sub(r"[^\w{}|@' ]", " ", re.sub(r"<\w+>", "@", template.lower()))
    text = re.sub(r"\s+", " *", text.replace("{", "(?:").replace("}", ")"))
    return text.replace("@", "(?:the |an? )?(?:_|bars|columns|lines|rows)")


def test_neither_phrasings_nor_fonts_are_trained_on() -> None:
    sections, rng = load("phrasings"), np.random.default_rng(0)
    any_of = {key: "|".join(map(pattern, lines)) for key, lines in sections.items()}
    every, before, after = "|".join(any_of.values()), any_of["before"], any_of["after"]
    composed = re.compile(f"(?:{before})? *(?:{every}) *(?:{after})?")
    cases = {phrase(rng, lines): True for lines in sections.values()}
    for side in ("above", "to the left of"):
        cases |= {t.replace("<side>", side): False for kind in KINDS for t in phrasings(kind)}
    for text, trained in cases.items():
        words = " ".join(re.findall(r"[\w']+", re.sub(r"<\w+>", "_", text.lower())))
        assert (composed.fullmatch(words) is not None) == trained, text
    assert not set(HELD_OUT) & set(TRAINED)
