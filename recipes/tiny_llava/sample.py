"""Random contents of images: shapes, writing, charts and pages."""

import math

import numpy as np
from numpy.random import Generator

from .strings import amount, cased, letters, listed, number
from .things import COLOURS, SHAPES, Bar, Chart, Line, Page, Scene, Shape, Stamp, Stroke, Writing
from .words import load, pick

#: Height of a small capital letter, 9.5 pixels of 112: much smaller ones cannot be read.
LOWEST = 0.085
#: Radius of the smallest shape: 5 pixels of 112.
SMALLEST = 0.045
#: Centre and radius of a shape; shapes are circles here, which stay inside and do not touch.
Place = tuple[float, float, float]

_EMS = dict.fromkeys("ijl.,", 0.3) | dict.fromkeys("ftrI1", 0.4) | dict.fromkeys("mwMW", 0.85)
_DARK = ("black", "blue", "purple")
_PALE = ("white", "yellow", "cyan", "pink")


def sample(rng: Generator, wide: float = 0.5, crowded: float = 0) -> Scene | Writing | Chart | Page:
    """Return a picture: writing, a chart or a page with probability `wide`, else shapes.

    `crowded` is the share of full grids among shapes. Among writing, twice as many pictures are
    full of random strings, because a single word has few characters to learn from.
    """
    if rng.random() >= wide:
        return sample_scene(rng, crowded)
    if rng.random() < 0.6:
        full = rng.random() < min(0.85, 2 * crowded)
        return sample_crowd(rng) if full else sample_writing(rng)
    return sample_chart(rng) if rng.random() < 0.4 else sample_page(rng)


def _canvas(rng: Generator) -> tuple[str | None, float, float]:
    """Return a background, mostly with a name, and a width and a height, mostly equal."""
    background = pick(rng, COLOURS) if rng.random() < 0.72 else None
    if background is not None and rng.random() < 0.35:
        background = "black" if rng.random() < 0.35 else "white"
    short = rng.uniform(0.5, 0.95) if rng.random() < 0.28 else 1.0
    return (background, 1.0, short) if rng.random() < 0.6 else (background, short, 1.0)


def sample_scene(rng: Generator, crowded: float = 0.0, white: bool = False) -> Scene:
    """Return 0 to 6 shapes, or with probability `crowded` a full grid; the ground may be white."""
    background, width, height = _canvas(rng)
    background = "white" if white else background
    count: int | None = int(rng.choice(7, p=(0.01, 0.22, 0.19, 0.19, 0.18, 0.18, 0.03)))
    count = None if rng.random() < crowded else count
    places = _places(rng, count, width, height)
    colours = _palette(rng, [colour for colour in COLOURS if colour != background])
    kinds = _palette(rng, list(SHAPES))
    shapes = tuple(Shape(pick(rng, kinds), pick(rng, colours), *place) for place in places)
    return Scene(background, width, height, shapes)


def _palette(rng: Generator, names: list[str]) -> list[str]:
    """Return all names or, half of the time, 1 to 3: then subsets are worth counting."""
    if rng.random() < 0.5:
        return names
    return [str(name) for name in rng.choice(names, size=int(rng.integers(1, 4)), replace=False)]


def _places(rng: Generator, count: int | None, width: float, height: float) -> list[Place]:
    """Return places: one large, on a grid (None: a full one), in a line or anywhere."""
    low, high = min(width, height), max(width, height)
    style = 0.0 if count is None else rng.random()
    if count == 1 and style < 0.6:
        radius = rng.uniform(0.35, 0.96) * low / 2
        slack = (low / 2 - radius) * (rng.random() < 1 / 3)
        x, y = rng.uniform(-slack, slack), rng.uniform(-slack, slack)
        return [(width / 2 + x, height / 2 + y, radius)]
    if count is None or style < 0.2:
        return _grid(rng, count, width, height)
    if style < 0.32 and count > 1:
        upright = width < height or (width == height and rng.random() < 0.35)
        radius = max(SMALLEST, min(high / count, low) / 2 * rng.uniform(0.5, 0.95))
        slack = (low / 2 - radius) * (rng.random() < 0.5)
        across = low / 2 + rng.uniform(-slack, slack)
        line = [(i + 0.5) * high / count for i in range(count)]
        return [(across, at, radius) if upright else (at, across, radius) for at in line]
    middle = rng.uniform(0.06, 0.34 / math.sqrt(max(count, 1)) + 0.02)
    spread = float(rng.choice((1.05, 1.4, 2.0)))
    most = min(max(SMALLEST + 0.005, middle * spread), low * 0.45)
    least = min(max(SMALLEST, middle / spread), most)
    gap, tries = rng.uniform(0.01, 0.06), 0
    places: list[Place] = []
    while len(places) < count:
        tries += 1  # radii shrink with each try, so that it ends
        radius = SMALLEST + max(0.0, 1 - tries / 60) * (rng.uniform(least, most) - SMALLEST)
        x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
        if all(math.hypot(x - a, y - b) > radius + r + gap for a, b, r in places):
            places.append((x, y, radius))
        elif tries > 200:
            places, tries = [], 0
    return places


def _grid(rng: Generator, count: int | None, width: float, height: float) -> list[Place]:
    """Return places in cells of a grid, 0 to 2 cells empty for None; radii may be equal."""
    least, most = (2, 6) if count is None else (2 if count <= 4 else 3, 5)
    columns, rows = (int(n) for n in rng.integers(least, most, size=2))
    if count is None:
        rows = max(2, min(rows, round(columns * height / width) + 1))
        columns = max(2, min(columns, round(rows * width / height) + 1))
        count = columns * rows - int(rng.integers(0, 3))
    half = min(width / columns, height / rows) / 2
    same = rng.uniform(0.5, 0.95) if rng.random() < 0.5 else None
    places = []
    for cell in rng.choice(columns * rows, size=count, replace=False):
        row, column = divmod(int(cell), columns)
        radius = max(SMALLEST, half * (same or rng.uniform(0.5, 0.97)))
        slack = max(0.0, half * 0.99 - radius) * (rng.random() < 0.7)
        x = (column + 0.5) * width / columns + rng.uniform(-slack, slack)
        y = (row + 0.5) * height / rows + rng.uniform(-slack, slack)
        places.append((x, y, radius))
    return places


def ems(letter: str) -> float:
    """Return the rough width of a character in ems, whatever the font."""
    return _EMS.get(letter, 0.66 if letter.isupper() else 0.56)


def span(text: str, height: float) -> float:
    """Return the rough width of a text whose capital letters have that height."""
    return sum(ems(letter) for letter in text) * height / 0.7


def _height(rng: Generator, most: float) -> float:
    """Return a letter height from `LOWEST` to `most`; small ones are as frequent as large ones."""
    return math.exp(rng.uniform(math.log(LOWEST), math.log(max(LOWEST, most))))


def _ink(rng: Generator, background: str | None) -> str:
    """Return a colour that can be read on the background: mostly black or white."""
    if background not in _DARK and rng.random() < 0.5:
        return "black"
    if background in (*_DARK, "red", "green") and rng.random() < 0.5:
        return "white"
    avoided = _PALE if background in _PALE else (background,)
    return pick(rng, [name for name in COLOURS if name not in avoided])


def sample_writing(rng: Generator, fresh: bool = False) -> Writing:
    """Return a number, a word or random letters; `fresh` letters are never trained on."""
    background, width, height = _canvas(rng)
    kind = str(rng.choice(("number", "word", "letters"), p=(0.34, 0.3, 0.36)))
    if kind == "number":
        text = number(rng)
    else:
        text = cased(rng, pick(rng, listed()) if kind == "word" else letters(rng, fresh))
    most = min(0.94 * width / span(text, 1.0), 0.7 * height)
    tall = min(_height(rng, most), max(most, 0.07))
    room = min(span(text, tall) * 1.15, 0.97 * width)
    middle = []
    for long, size in ((width, room), (height, tall * 1.6)):
        slack = max(0.0, long / 2 - size / 2 - 0.02) * (rng.random() < 0.7)
        middle.append(long / 2 + rng.uniform(-slack, slack))
    x, y = middle
    line = Line(text, x, y, tall, room, _ink(rng, background), "writing", kind)
    return Writing(background, width, height, (line,))


def sample_crowd(rng: Generator) -> Writing:
    """Return a picture full of random strings of one size, to learn characters from."""
    background, width, height = _canvas(rng)
    tall = min(_height(rng, 0.42), 0.6 * height, (width - 0.12) / span("WW", 1.0))
    rows = max(1, int(height / (1.6 * tall)))
    lines = []
    for row in range(rows):
        y, left, ink = (row + 0.5) * height / rows, rng.uniform(0.02, 0.1), _ink(rng, background)
        while (room := width - 0.02 - left) > span("0", tall):
            text = number(rng) if rng.random() < 0.3 else cased(rng, letters(rng))
            while span(text, tall) > room:
                text = text[:-1]
            if text:
                long = span(text, tall)
                lines.append(Line(text, left + long / 2, y, tall, long, ink, kind="letters"))
                left += long + min(0.13, 0.6 * tall)
    return Writing(background, width, height, tuple(lines))


def sample_chart(rng: Generator) -> Chart:
    """Return 2 to 6 bars of different colours, or of any colours with letters below them."""
    background, width, height = _canvas(rng)
    background = "white" if rng.random() < 0.6 else background
    ink = "white" if background in _DARK else "black"
    count = int(rng.integers(2, 7))
    named = rng.random() < 0.45
    colours = [str(name) for name in rng.permutation([c for c in COLOURS if c != background])]
    if named and rng.random() < 0.5:
        colours = colours[:1] * count
    top, title = 0.06, None
    if rng.random() < 0.2 and width > 0.75:
        text, top = cased(rng, pick(rng, listed())), LOWEST + 0.1
        tall = min(LOWEST * 1.1, 0.9 * width / span(text, 1.0))
        title = Line(text, width / 2, 0.09, tall, 0.95 * width, ink, "title")
    base = height - (0.17 if named else rng.uniform(0.04, 0.14))
    left = rng.uniform(0.03, 0.12)
    pitch = (width - left - 0.03) / count
    pitch *= rng.uniform(0.8, 1) if pitch > 0.18 else 1.0
    slim = rng.uniform(0.55, 0.92)
    first = 65 + (0 if rng.random() < 0.7 else int(rng.integers(0, 26 - count)))
    room = base - top
    least = max(0.05, 0.021 / room)  # the extremes stand out by 2.4 pixels of 112 or more
    gap = max(least, rng.uniform(0.05, 0.15))
    while True:
        shares = rng.uniform(0.12, 1.0, size=count) * rng.uniform(0.8, 1.0)
        steps = np.diff(np.sort(shares))
        if min(steps[0], steps[-1]) >= gap:
            break
        gap = max(least, 0.95 * gap)
    bars = []
    for index, share in enumerate(shares.tolist()):
        x = left + (index + 0.5) * pitch
        label = Line(chr(first + index), x, base + 0.09, LOWEST, pitch, ink, "label", "letters")
        bars.append(Bar(x, pitch * slim, share * room, colours[index], label if named else None))
    return Chart(background, width, height, tuple(bars), base, title)


def sample_page(rng: Generator) -> Page:
    """Return a page, mostly upright, with 2 to 8 lines and, three times in four, a stamp."""
    width = rng.uniform(0.68, 0.9) if rng.random() < 0.75 else 1.0
    background = "white" if rng.random() < 0.75 else pick(rng, (None, "yellow", "pink", "cyan"))
    margin = rng.uniform(0.04, 0.1)
    room = width - 2 * margin
    text = pick(rng, load("strings")["titles"] if rng.random() < 0.4 else listed())
    text = cased(rng, letters(rng) if rng.random() < 0.25 else text)
    tall = min(rng.uniform(LOWEST, 0.12), room / span(text, 1.0))
    long = span(text, tall)
    x = width / 2 if rng.random() < 0.6 else margin + long / 2
    ink = "black" if rng.random() < 0.7 else pick(rng, ("blue", "red", "purple", "green"))
    title = Line(text, x, rng.uniform(0.08, 0.12), tall, min(long * 1.1, room), ink, "title")
    count = int(rng.integers(2, 9))
    step = rng.uniform(0.068, max(0.07, min(0.1, 0.62 / count)))
    indent = 0.04 * (rng.random() < 0.2)
    rows = [Stroke(margin + indent, title.y + 0.11, room - indent)]
    while len(rows) < count:
        rows.append(Stroke(margin, rows[-1].y + step, room * rng.uniform(0.45, 1.0)))
    stamp = _stamp(rng, width, background) if rng.random() < 0.75 else None
    below = max(rows[-1].y + 0.1, stamp.y + stamp.height / 2 + 0.1 if stamp else 0.0)
    y, word, text = (
        rng.uniform(min(below, 0.92), 0.93),
        pick(rng, load("strings")["totals"]),
        amount(rng),
    )
    word = word.upper() if rng.random() < 1 / 3 else word.capitalize()
    tall = min(rng.uniform(LOWEST, 0.105), 0.84 * room / span(word + text, 1.0))
    long, size = span(word, tall), span(text, tall)
    x = width - margin - size / 2
    if rng.random() < 0.3:
        x = min(x, margin + long + 0.13 + size / 2)
    ink = "black" if rng.random() < 0.85 else pick(rng, ("blue", "red", "green"))
    label = Line(word, margin + long / 2, y, tall, long, "black", "label")
    total = Line(text, x, y, tall, size, ink, "total", "number")
    return Page(
        background, width, title=title, strokes=tuple(rows), total=total, label=label, stamp=stamp
    )


def _stamp(rng: Generator, width: float, background: str | None) -> Stamp:
    """Return a stamp between title and total, to the right, over the ends of some lines."""
    inks = ("red", "green", "blue", "purple", "orange", "red", "blue", "pink")
    ink = pick(rng, [ink for ink in inks if ink != background])
    text = cased(rng, pick(rng, load("strings")["stamps"])) if rng.random() < 0.6 else ""
    circular = rng.random() < 0.5
    wide = rng.uniform(0.2, 0.32)
    if text:
        wide = min(span(text, 0.085) + (0.16 if circular else 0.08), 0.7 * width)
    tall = min(wide if circular else rng.uniform(0.16, 0.22), 0.36)
    y = rng.uniform(0.22 + tall / 2, 0.81 - tall / 2)
    x = rng.uniform(max(wide / 2, width * 0.5), width - wide / 2 - 0.01)
    turn = rng.uniform(-0.35, 0.35) if rng.random() < 0.6 else 0.0
    size = min(0.085, wide * 0.85 / span(text or "0", 1.0))
    line = Line(text, x, y, size, wide, ink, "stamp") if text else None
    return Stamp(x, y, wide, tall, ink, circular, turn, line)
