"""Random writing, charts and pages, with room for what they hold at 112 pixels.

Writing is at least ten pixels high there: less cannot be read on the model's grid.
"""

from __future__ import annotations

import math

import numpy as np

from recipes.tiny_llava.words import pick
from recipes.tiny_llava.world import COLOURS, sample_background, sample_canvas

from .strings import LISTED, STAMPED, TITLES, TOTALS, amount, cased, letters, number
from .things import Bar, Chart, Line, Page, Stamp, Stroke, Writing

LOWEST = 0.085
"""The least height of a capital letter: 9.5 pixels of 112."""

CLEAR = 0.021
"""What bars that stand out do so by at least, in shares of the picture: 2.4 pixels of 112."""

_EMS = dict.fromkeys("ijl.,", 0.3) | dict.fromkeys("ftrI1", 0.4) | dict.fromkeys("mwMW", 0.85)


def ems(letter: str) -> float:
    """Roughly how far a character moves the pen, in ems, for want of a font."""
    return _EMS.get(letter, 0.66 if letter.isupper() else 0.56)


def span(text: str, height: float) -> float:
    """Roughly how wide a text is whose capital letters have that height."""
    return sum(ems(letter) for letter in text) * height / 0.7


def sample_writing(rng: np.random.Generator, fresh: bool = False) -> Writing:
    """A number, a word or random letters; ``fresh`` letters are never trained on."""
    width, height = sample_canvas(rng)
    background = sample_background(rng)
    kind = ("number", "word", "letters")[int(rng.choice(3, p=(0.34, 0.3, 0.36)))]
    if kind == "number":
        text = number(rng)
    else:
        text = cased(rng, pick(rng, LISTED) if kind == "word" else letters(rng, fresh))
    most = min(0.94 * width / span(text, 1.0), 0.7 * height)
    tall = float(np.exp(rng.uniform(math.log(LOWEST), math.log(max(LOWEST, most)))))
    tall = min(tall, max(most, 0.07))
    room = min(span(text, tall) * 1.15, 0.97 * width)
    x, y = _spot(rng, width, room), _spot(rng, height, tall * 1.6)
    line = Line(text, x, y, tall, room, _ink(rng, background), "writing", kind)
    return Writing((line,), background, width, height)


def sample_crowd(rng: np.random.Generator) -> Writing:
    """A picture full of random strings of any size, for an eye to learn characters from."""
    width, height = sample_canvas(rng)
    background = sample_background(rng)
    tall = float(np.exp(rng.uniform(math.log(LOWEST), math.log(0.42))))
    tall = min(tall, 0.6 * height, (width - 0.12) / span("WW", 1.0))  # any two fit in a row
    rows = max(1, int(height / (1.6 * tall)))
    lines = []
    for row in range(rows):
        y = (row + 0.5) * height / rows
        left = float(rng.uniform(0.02, 0.1))
        colour = _ink(rng, background)
        while (room := width - 0.02 - left) > span("0", tall):
            text = number(rng) if rng.random() < 0.3 else cased(rng, letters(rng))
            while span(text, tall) > room:
                text = text[:-1]
            if not text:
                continue
            wide = span(text, tall)
            lines.append(Line(text, left + wide / 2, y, tall, wide, colour, kind="letters"))
            left += wide + min(0.13, 0.6 * tall)
    return Writing(tuple(lines), background, width, height)


def _spot(rng: np.random.Generator, room: float, size: float) -> float:
    """The middle of something of that size: in the middle of the room or anywhere in it."""
    slack = max(0.0, room / 2 - size / 2 - 0.02)
    return room / 2 + float(rng.uniform(-slack, slack)) * float(rng.random() < 0.7)


def _ink(rng: np.random.Generator, background: str | None) -> str:
    """A colour that is read well on the ground: black or white mostly."""
    if rng.random() < 0.5 and background not in ("black", "blue", "purple"):
        return "black"
    if rng.random() < 0.5 and background in ("black", "blue", "purple", "red", "green"):
        return "white"
    pale = {"white", "yellow", "cyan", "pink"}
    colours = [name for name in COLOURS if name != background]
    if background in pale:
        colours = [name for name in colours if name not in pale]
    return pick(rng, colours)


def sample_chart(rng: np.random.Generator) -> Chart:
    """Two to six bars of different colours, or of any colours and named below by letters."""
    width, height = sample_canvas(rng)
    background = "white" if rng.random() < 0.6 else sample_background(rng)
    count = int(rng.integers(2, 7))
    named = rng.random() < 0.45
    colours = [name for name in COLOURS if name != background]
    rng.shuffle(colours)
    if named and rng.random() < 0.5:
        colours = [colours[0]] * len(colours)
    title = None
    top = 0.06
    ink = "white" if background in ("black", "blue", "purple") else "black"
    if rng.random() < 0.2 and width > 0.75:
        top = LOWEST + 0.1
        text = cased(rng, pick(rng, LISTED))
        tall = min(LOWEST * 1.1, 0.9 * width / span(text, 1.0))
        title = Line(text, width / 2, 0.09, tall, 0.95 * width, ink, "title")
    base = height - (0.17 if named else float(rng.uniform(0.04, 0.14)))
    left = float(rng.uniform(0.03, 0.12))
    pitch = (width - left - 0.03) / count
    pitch *= float(rng.uniform(0.8, 1)) if pitch > 0.18 else 1.0
    slim = float(rng.uniform(0.55, 0.92))
    start = 0 if rng.random() < 0.7 else int(rng.integers(0, 26 - count))
    bars = []
    for index, share in enumerate(_heights(rng, count, base - top)):
        x = left + (index + 0.5) * pitch
        label = None
        if named:
            letter = chr(65 + start + index)
            label = Line(letter, x, base + 0.09, LOWEST, pitch, ink, "label", "letters")
        bars.append(Bar(x, pitch * slim, share * (base - top), colours[index], label))
    return Chart(tuple(bars), base, title, background, width, height)


def _heights(rng: np.random.Generator, count: int, room: float) -> list[float]:
    """Heights in 0.1–1 of which the highest and the lowest stand clear of the others.

    By a twentieth of the ``room`` that they are shares of, and by ``CLEAR``.
    """
    least = max(0.05, CLEAR / room)
    gap = max(least, float(rng.uniform(0.05, 0.15)))
    while True:
        heights = rng.uniform(0.12, 1.0, size=count) * float(rng.uniform(0.8, 1.0))
        order = np.sort(heights)
        if order[-1] - order[-2] >= gap and order[1] - order[0] >= gap:
            return [float(one) for one in heights]
        gap = max(least, 0.95 * gap)


def sample_page(rng: np.random.Generator) -> Page:
    """A page, upright mostly, with two to eight lines and, three times of four, a stamp."""
    upright = rng.random() < 0.75
    width, height = (float(rng.uniform(0.68, 0.9)), 1.0) if upright else (1.0, 1.0)
    background = "white" if rng.random() < 0.75 else pick(rng, (None, "yellow", "pink", "cyan"))
    margin = float(rng.uniform(0.04, 0.1))
    room = width - 2 * margin
    title = _title(rng, margin, width, room)
    strokes = _strokes(rng, margin, room, title.y + 0.11)
    stamp = _stamp(rng, width, background) if rng.random() < 0.75 else None
    below = max(strokes[-1].y + 0.1, stamp.y + stamp.height / 2 + 0.1 if stamp else 0.0)
    label, total = _total(rng, margin, width, room, float(rng.uniform(min(below, 0.92), 0.93)))
    return Page(title, strokes, total, label, stamp, background, width, height)


def _title(rng: np.random.Generator, margin: float, width: float, room: float) -> Line:
    text = cased(rng, pick(rng, TITLES if rng.random() < 0.4 else LISTED))
    if rng.random() < 0.25:
        text = cased(rng, letters(rng))
    tall = float(rng.uniform(LOWEST, 0.12))
    tall = min(tall, room / span(text, 1.0))
    wide = span(text, tall)
    x = width / 2 if rng.random() < 0.6 else margin + wide / 2
    ink = "black" if rng.random() < 0.7 else pick(rng, ("blue", "red", "purple", "green"))
    return Line(text, x, float(rng.uniform(0.08, 0.12)), tall, min(wide * 1.1, room), ink, "title")


def _strokes(
    rng: np.random.Generator, margin: float, room: float, top: float
) -> tuple[Stroke, ...]:
    count = int(rng.integers(2, 9))
    step = float(rng.uniform(0.068, max(0.07, min(0.1, 0.62 / count))))
    indented = rng.random() < 0.2
    strokes = []
    for index in range(count):
        share = float(rng.uniform(0.45, 1.0)) if index else 1.0
        x = margin + (0.04 if indented and index == 0 else 0.0)
        strokes.append(Stroke(x, top + index * step, room * share - (x - margin)))
    return tuple(strokes)


def _total(
    rng: np.random.Generator, margin: float, width: float, room: float, y: float
) -> tuple[Line, Line]:
    word = cased(rng, pick(rng, TOTALS))
    if word.islower():
        word = word.capitalize()
    text = amount(rng)
    tall = min(float(rng.uniform(LOWEST, 0.105)), 0.84 * room / span(word + text, 1.0))
    wide = span(word, tall)
    label = Line(word, margin + wide / 2, y, tall, wide, "black", "label")
    size = span(text, tall)
    x = width - margin - size / 2
    if rng.random() < 0.3:
        x = min(x, margin + wide + 0.13 + size / 2)
    ink = "black" if rng.random() < 0.85 else pick(rng, ("blue", "red", "green"))
    return label, Line(text, x, y, tall, size, ink, "total", "number")


def _stamp(rng: np.random.Generator, width: float, background: str | None) -> Stamp:
    """A stamp between title and total, towards the right, over the ends of some lines."""
    inks = ("red", "green", "blue", "purple", "orange", "red", "blue", "pink")
    colour = pick(rng, [ink for ink in inks if ink != background])
    text = cased(rng, pick(rng, STAMPED)) if rng.random() < 0.6 else ""
    round_ = bool(rng.random() < 0.5)
    wide = float(rng.uniform(0.2, 0.32))
    if text:
        wide = min(span(text, 0.085) + (0.16 if round_ else 0.08), 0.7 * width)
    tall = wide if round_ else float(rng.uniform(0.16, 0.22))
    tall = min(tall, 0.36)
    y = float(rng.uniform(0.22 + tall / 2, 0.81 - tall / 2))
    x = float(rng.uniform(max(wide / 2, width * 0.5), width - wide / 2 - 0.01))
    turn = float(rng.uniform(-0.35, 0.35)) if rng.random() < 0.6 else 0.0
    line = None
    if text:
        line = Line(text, x, y, min(0.085, wide * 0.85 / span(text, 1.0)), wide, colour, "stamp")
    return Stamp(x, y, wide, tall, colour, round_, turn, line)
