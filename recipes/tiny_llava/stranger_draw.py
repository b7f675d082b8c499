"""The second renderer: it draws the examination's pictures, and no training uses it.

It shares no drawing code, tone, font or layout with `render.py`: shapes are signed-distance fields
that numpy evaluates per pixel; writing, charts and pages have `HELD_OUT` fonts.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.random import Generator as Rng
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from . import things
from .fonts import HELD_OUT, font
from .strings import letters, listed
from .words import pick

Field = NDArray[np.float64]
Tone = tuple[int, int, int]

#: Tones of each colour's name, 0-255 per channel.
TONES: dict[str, tuple[Tone, ...]] = {
    "red": ((222, 18, 28), (196, 22, 40), (247, 34, 22)),
    "green": ((16, 142, 58), (52, 186, 62), (8, 112, 34)),
    "blue": ((22, 62, 212), (48, 98, 232), (12, 32, 168)),
    "yellow": ((252, 226, 16), (248, 236, 62), (238, 218, 8)),
    "orange": ((252, 146, 8), (241, 124, 12), (255, 154, 36)),
    "purple": ((124, 28, 162), (142, 46, 196), (106, 22, 132)),
    "pink": ((252, 142, 188), (244, 112, 172), (255, 178, 206)),
    "cyan": ((8, 216, 232), (32, 232, 246), (14, 198, 216)),
    "black": ((6, 6, 8), (22, 20, 20)),
    "white": ((253, 253, 253), (246, 247, 249)),
}
#: The inks on each background of writing.
INKS = {
    "white": ("black", "blue", "red", "purple", "green"), "black": ("white", "yellow", "cyan"),
    "yellow": ("black", "blue", "purple"), "blue": ("white", "yellow"),
}  # fmt: skip
#: Pixels of the longer side of writing, charts and pages; a scene has fewer.
SIDE = 224


def sample_scene(rng: Rng) -> things.Scene:
    """Return a scene of one to five shapes of two to four colours, on a jittered ring."""
    count = int(rng.integers(1, 6))
    background = str(rng.choice(things.COLOURS)) if rng.random() < 0.6 else "white"
    others = rng.permutation([name for name in things.COLOURS if name != background])
    few = others[: int(rng.integers(2, 5))]
    shapes = []
    centre, start = rng.uniform(0.44, 0.56, size=2), rng.uniform(0, 2 * math.pi)
    for index in range(count):
        (x, y), radius = centre, rng.uniform(0.13, 0.4) if count == 1 else 0.0
        if count > 1:
            angle = start + 2 * math.pi * index / count + rng.uniform(-0.25, 0.25)
            x, y = centre + rng.uniform(0.25, 0.32) * np.array([math.cos(angle), math.sin(angle)])
            radius = rng.uniform(0.06, min(0.16, 0.62 / count))
        kind, colour = pick(rng, things.SHAPES), str(rng.choice(few))
        shapes.append(things.Shape(kind, colour, float(x), float(y), float(radius)))
    return things.Scene(background, shapes=tuple(shapes))


def draw_scene(scene: things.Scene, rng: Rng, side: int = 192) -> things.Drawing:
    """Return a square drawing of `side` pixels whose shapes know their boxes; no outlines."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    ground = pick(rng, TONES[scene.background or "white"]) + rng.uniform(-4, 4, 3)
    canvas = np.tile(ground, (side, side, 1))
    if rng.random() < 0.35:
        waves = np.sin(x * rng.uniform(4, 40) + rng.uniform(0, 6)) * np.sin(y * rng.uniform(4, 40))
        canvas += waves[..., None] * rng.uniform(3, 10)
    if rng.random() < 0.35:
        canvas += rng.laplace(0, rng.uniform(2, 9), canvas.shape)
    rim = float(rng.uniform(0.006, 0.014)) if rng.random() < 0.3 else 0.0
    dark = bool(rng.random() < 0.6)
    drawn = []
    for shape in scene.shapes:
        inside = _field(shape, x, y, rng)
        tone = pick(rng, TONES[shape.colour]) + rng.uniform(-4, 4, 3)
        rims = [(np.full(3, 15.0) if dark else tone * 0.55, inside)] if rim else []
        for paint, distance in [*rims, (tone, inside + rim)]:
            mask = np.clip(0.5 - distance * side, 0, 1)[..., None]
            canvas = canvas * (1 - mask) + paint * mask
        edges = Image.fromarray(inside < 0).getbbox() or ()
        left, top, right, bottom = (pixel / side for pixel in edges)
        drawn.append(replace(shape, box=(left, top, right, bottom)))
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    return things.Drawing(image, replace(scene, shapes=tuple(drawn)))


def _field(shape: things.Shape, x: Field, y: Field, rng: Rng) -> Field:
    """Return the signed distance to the shape's edge, negative inside, in fractions of the side."""
    dx, dy, r = x - shape.x, y - shape.y, shape.radius
    if shape.kind not in ("square", "diamond"):
        turn = float(rng.normal(0, 0.15))
        cosine, sine = math.cos(turn), math.sin(turn)
        dx, dy = dx * cosine + dy * sine, dy * cosine - dx * sine
    across, along, far = np.abs(dx), np.abs(dy), np.hypot(dx, dy)
    match shape.kind:
        case "circle":
            return far - r * 0.92
        case "square":
            return np.maximum(across, along) - r * 0.78
        case "diamond":
            slim = float(rng.uniform(0.6, 0.9))
            return (across / slim + along - r) * slim * 0.75
        case "triangle":
            return np.maximum(across * 0.866 - dy * 0.5, dy) - r * 0.38
        case "cross":
            arm, reach = r * float(rng.uniform(0.22, 0.36)), r * 0.9
            upright = np.maximum(across - arm, along - reach)
            return np.minimum(upright, np.maximum(along - arm, across - reach))
        case _:  # a star: in each fifth of it, the line from a tip to a notch
            inner, fifth = r * float(rng.uniform(0.4, 0.52)), 2 * math.pi / 5
            angle = np.abs((np.arctan2(dx, -dy) + fifth / 2) % fifth - fifth / 2)
            run, rise = inner * math.cos(fifth / 2) - r, inner * math.sin(fifth / 2)
            aside = far * np.sin(angle) * run
            return ((far * np.cos(angle) - r) * rise - aside) / math.hypot(run, rise)


def draw_writing(rng: Rng, kind: str) -> tuple[things.Writing, Image.Image]:
    """Return a `number`, a `word` of the list or `letters` that training never shows."""
    ground = pick(rng, tuple(INKS))
    ink = pick(rng, INKS[ground])
    if kind == "number":
        text = str(int(rng.integers(10 ** int(rng.integers(1, 5)))))
    else:
        text = letters(rng, fresh=True) if kind == "letters" else pick(rng, listed())
        text = pick(rng, (text, text.upper(), text.title()))
    image = _sheet(ground, rng)
    face = _fit(pick(rng, HELD_OUT), int(rng.integers(28, 72)), text, 0.92 * SIDE)
    half = face.getlength(text) / 2 + 4
    at = float(rng.uniform(half, SIDE - half)), float(rng.uniform(face.size, SIDE - face.size))
    line = _write(image, text, at, face, "writing", pick(rng, TONES[ink]))
    return things.Writing(ground, lines=(replace(line, colour=ink, kind=kind),)), image


def draw_chart(rng: Rng, labelled: bool) -> tuple[things.Chart, Image.Image]:
    """Return two to six bars of different colours, each above a letter if `labelled`."""
    image = _sheet("white", rng)
    pen = ImageDraw.Draw(image)
    count = int(rng.integers(2, 7))
    base = 188 if labelled else int(rng.integers(196, 214))
    levels = rng.permutation(np.linspace(30, base - 20, 9).round()).tolist()
    colours = rng.permutation([name for name in TONES if name != "white"]).tolist()
    step = 200 / count
    thick = step * float(rng.uniform(0.5, 0.8))
    face = font(pick(rng, HELD_OUT), 24)
    bars = []
    for index, level, colour in zip(range(count), levels, colours, strict=False):
        x, label = 14 + (index + 0.5) * step, None
        box = (x - thick / 2, base - level, x + thick / 2, base)
        pen.rectangle(box, fill=pick(rng, TONES[colour]))
        if labelled:
            label = _write(image, "ABCDEF"[index], (x, base + 17), face, "label", (20, 20, 20))
        bars.append(things.Bar(x / SIDE, thick / SIDE, level / SIDE, colour, label))
    pen.line((10, base, 216, base), fill=(60, 60, 60), width=2)
    return things.Chart("white", bars=tuple(bars), base=base / SIDE), image


def draw_page(rng: Rng) -> tuple[things.Page, Image.Image]:
    """Return a page of three to seven lines with a title and a total; 60% have a stamp."""
    width = int(rng.integers(168, 204))
    image = _sheet("white", rng).crop((0, 0, width, SIDE))
    pen = ImageDraw.Draw(image)
    name, text = pick(rng, HELD_OUT), pick(rng, listed()).title()
    title = _write(image, text, (width / 2, 24), _fit(name, 28, text, width - 20), "title")
    strokes = []
    for index in range(int(rng.integers(3, 8))):
        y, long = 52 + index * 16, float(rng.uniform(0.55, 0.95)) * (width - 24)
        pen.rectangle((12, y - 2, 12 + long, y + 2), fill=(150, 150, 155))
        strokes.append(things.Stroke(12 / SIDE, y / SIDE, long / SIDE))
    label = _write(image, "Total", (42, 204), _fit(name, 23, "Total", 60), "label")
    text = f"{int(rng.integers(10, 1000))}.{int(rng.integers(100)):02}"
    total = _write(image, text, (width - 46, 204), _fit(name, 23, text, width - 90), "total")
    stamp = None
    if rng.random() < 0.6:
        colour = pick(rng, ("red", "blue", "green", "purple", "orange"))
        radius, middle = rng.uniform(22, 32), float(rng.uniform(90, 150))
        x, size = width - radius - 8, 2 * radius / SIDE
        for reach in (radius, radius - 5):
            box = (x - reach, middle - reach, x + reach, middle + reach)
            pen.ellipse(box, outline=pick(rng, TONES[colour]), width=3)
        stamp = things.Stamp(x / SIDE, middle / SIDE, size, size, colour, round=True)
    page = things.Page(
        "white", width / SIDE, title=title, strokes=tuple(strokes), total=total, label=label,
        stamp=stamp,
    )  # fmt: skip
    return page, image


def _fit(name: str, size: int, text: str, room: float) -> ImageFont.FreeTypeFont:
    """Return the font, of that size or as much smaller as the room, in pixels, needs."""
    while font(name, size).getlength(text) > room:
        size -= 1
    return font(name, size)


def _write(
    image: Image.Image, text: str, at: things.Point, face: ImageFont.FreeTypeFont, role: str,
    fill: Tone = (25, 25, 30),
) -> things.Line:  # fmt: skip
    """Write around a place, in pixels."""
    ImageDraw.Draw(image).text(at, text, fill=fill, font=face, anchor="mm")
    width, height = face.getlength(text) / SIDE, 0.7 * face.size / SIDE
    return things.Line(text, at[0] / SIDE, at[1] / SIDE, height, width, "black", role)


def _sheet(ground: str, rng: Rng) -> Image.Image:
    """Return a background, 30% with a little grain."""
    pixels = np.tile(np.array(pick(rng, TONES[ground]), float), (SIDE, SIDE, 1))
    if rng.random() < 0.3:
        pixels += rng.laplace(0, rng.uniform(1, 6), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
