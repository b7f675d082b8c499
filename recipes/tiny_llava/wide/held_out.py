"""The second renderer of writing, charts and pages: for evaluation only, never for training.

Written apart from :mod:`.sample` and :mod:`.render`, with fonts, sizes, tones and layouts of its
own, on a canvas of 224 pixels; shares only the words of the list. Each function returns what there
is to see and its picture.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from recipes.tiny_llava.held_out import TONES
from recipes.tiny_llava.words import pick

from .fonts import HELD_OUT, font
from .strings import LISTED, letters
from .things import Bar, Chart, Line, Page, Stamp, Stroke, Writing

SIDE = 224
_INKS = {"white": ("black", "blue", "red", "purple", "green"), "black": ("white", "yellow", "cyan")}
_INKS |= {"yellow": ("black", "blue", "purple"), "blue": ("white", "yellow")}
Tone = tuple[int, int, int]


def writing(rng: np.random.Generator, kind: str) -> tuple[Writing, Image.Image]:
    """A ``"number"``, a ``"word"`` of the list or ``"letters"`` that were held back."""
    ground = pick(rng, tuple(_INKS))
    ink = pick(rng, _INKS[ground])
    if kind == "number":
        text = str(int(rng.integers(10 ** int(rng.integers(1, 5)))))
    else:
        text = letters(rng, fresh=True) if kind == "letters" else pick(rng, LISTED)
        text = (text, text.upper(), text.title())[int(rng.integers(3))]
    picture = _sheet(ground, rng)
    name, size = pick(rng, HELD_OUT), int(rng.integers(28, 72))
    while font(name, size).getlength(text) > 0.92 * SIDE:
        size -= 1
    wide = font(name, size).getlength(text)
    x = float(rng.uniform(wide / 2 + 4, SIDE - wide / 2 - 4))
    y = float(rng.uniform(size, SIDE - size))
    pen = ImageDraw.Draw(picture)
    pen.text((x, y), text, fill=_tone(ink, rng), font=font(name, size), anchor="mm")
    line = Line(text, x / SIDE, y / SIDE, 0.7 * size / SIDE, wide / SIDE, ink, "writing", kind)
    return Writing((line,), ground), picture


def chart(rng: np.random.Generator, labelled: bool) -> tuple[Chart, Image.Image]:
    """Two to six bars, of one colour each or with a letter each below."""
    picture = _sheet("white", rng)
    pen = ImageDraw.Draw(picture)
    count = int(rng.integers(2, 7))
    base = 188 if labelled else int(rng.integers(196, 214))
    levels = rng.permutation(np.linspace(30, base - 20, 9).round())[:count]
    colours = [str(name) for name in rng.permutation([name for name in TONES if name != "white"])]
    step = 200 / count
    thick = step * float(rng.uniform(0.5, 0.8))
    name = pick(rng, HELD_OUT)
    bars = []
    for index, level in enumerate(levels):
        x = 14 + (index + 0.5) * step
        pen.rectangle(
            (x - thick / 2, base - level, x + thick / 2, base), fill=_tone(colours[index], rng)
        )
        label = None
        if labelled:
            letter = "ABCDEF"[index]
            pen.text((x, base + 17), letter, fill=(20, 20, 20), font=font(name, 24), anchor="mm")
            label = Line(letter, x / SIDE, (base + 17) / SIDE, 0.08, 0.1, "black", "label")
        bars.append(Bar(x / SIDE, thick / SIDE, float(level) / SIDE, colours[index], label))
    pen.line((10, base, 216, base), fill=(60, 60, 60), width=2)
    return Chart(tuple(bars), base / SIDE, None, "white"), picture


def page(rng: np.random.Generator) -> tuple[Page, Image.Image]:
    """A letter of some lines with a title, a total at the foot and, often, a stamp."""
    width = int(rng.integers(168, 204))
    picture = _sheet("white", rng).crop((0, 0, width, SIDE))
    pen = ImageDraw.Draw(picture)
    name = pick(rng, HELD_OUT)
    title = _put(pen, name, pick(rng, LISTED).title(), (width / 2, 24), width - 20, 28, "title")
    count, strokes = int(rng.integers(3, 8)), []
    for index in range(count):
        y, long = 52 + index * 16, float(rng.uniform(0.55, 0.95)) * (width - 24)
        pen.rectangle((12, y - 2, 12 + long, y + 2), fill=(150, 150, 155))
        strokes.append(Stroke(12 / SIDE, y / SIDE, long / SIDE))
    label = _put(pen, name, "Total", (42, 204), 60, 23, "label")
    text = f"{int(rng.integers(10, 1000))}.{int(rng.integers(100)):02}"
    total = _put(pen, name, text, (width - 46, 204), width - 90, 23, "total")
    stamp = _stamp(pen, width, rng) if rng.random() < 0.6 else None
    return Page(title, tuple(strokes), total, label, stamp, "white", width / SIDE), picture


def _stamp(pen: ImageDraw.ImageDraw, width: int, rng: np.random.Generator) -> Stamp:
    """A double ring in a colour over the lower lines."""
    colour, radius = pick(rng, ("red", "blue", "green", "purple", "orange")), rng.uniform(22, 32)
    x, y = width - radius - 8, float(rng.uniform(90, 150))
    for inset in (0.0, 5.0):
        reach = radius - inset
        box = (x - reach, y - reach, x + reach, y + reach)
        pen.ellipse(box, outline=_tone(colour, rng), width=3)
    return Stamp(x / SIDE, y / SIDE, 2 * radius / SIDE, 2 * radius / SIDE, colour, True)


def _put(
    pen: ImageDraw.ImageDraw,
    name: str,
    text: str,
    middle: tuple[float, float],
    room: float,
    size: int,
    role: str,
) -> Line:
    """Write dark text around a place, as large as asked for or as fits the room."""
    while font(name, size).getlength(text) > room:
        size -= 1
    pen.text(middle, text, fill=(25, 25, 30), font=font(name, size), anchor="mm")
    wide = font(name, size).getlength(text) / SIDE
    return Line(text, middle[0] / SIDE, middle[1] / SIDE, 0.7 * size / SIDE, wide, "black", role)


def _sheet(ground: str, rng: np.random.Generator) -> Image.Image:
    """A ground with a little grain at times."""
    pixels = np.empty((SIDE, SIDE, 3))
    pixels[:] = _tone(ground, rng)
    if rng.random() < 0.3:
        pixels += rng.laplace(0, rng.uniform(1, 6), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _tone(name: str, rng: np.random.Generator) -> Tone:
    red, green, blue = pick(rng, TONES[name])
    return red, green, blue
