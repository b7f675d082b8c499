"""The renderer of training images: pictures become RGB images in many styles, not padded."""

import math
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

from .fonts import TRAINED, capital, font
from .things import Chart, Drawing, Glyph, Line, Page, Picture, Point, Scene, Shape, Stamp
from .tones import Size, Tone, anchors, paint, sample_tone, wear
from .words import pick

#: CLIP's mean colour, with which LLaVA pads images to a square.
PADDING: Tone = (122, 116, 104)
#: Corners of a shape's outline and the direction of the first; a star's include the inner ones.
_CORNERS = {
    "circle": (40, 0.0), "square": (4, math.pi / 4), "triangle": (3, -math.pi / 2),
    "star": (10, -math.pi / 2), "diamond": (4, 0.0),
}  # fmt: skip


def square(image: Image.Image, side: int = 112) -> Image.Image:
    """Return the image padded to a square, as LLaVA does, and resized to `side` pixels."""
    longer = max(image.size)
    padded = Image.new("RGB", (longer, longer), PADDING)
    padded.paste(image, ((longer - image.width) // 2, (longer - image.height) // 2))
    return padded if longer == side else padded.resize((side, side), Image.Resampling.BICUBIC)


def polygon(
    kind: str, x: float, y: float, r: float, turn: float = 0, aspect: float = 1, slim: float = 0.5
) -> list[Point]:
    """Return the outline of a shape of `SHAPES` within its circle, turned by radians.

    `aspect` is a factor of the width; `slim` (0-1) makes rays of stars and arms of crosses thinner.
    """
    if kind == "cross":
        arm = 0.5 - 0.36 * slim
        b = 1 / math.hypot(1, arm)
        a = arm * b
        points = [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a)]
        points += [(-p, -q) for p, q in points]
    else:
        corners, start = _CORNERS[kind]
        angles = [start + 2 * math.pi * i / corners for i in range(corners)]
        reach = (1.0, 0.62 - 0.3 * slim if kind == "star" else 1.0) * corners
        points = [(p * math.cos(a), p * math.sin(a)) for p, a in zip(reach, angles, strict=False)]
    cosine, sine = r * math.cos(turn), r * math.sin(turn)
    points = [(p * aspect, q) for p, q in points]
    return [(x + p * cosine - q * sine, y + p * sine + q * cosine) for p, q in points]


def draw(picture: Picture, rng: Generator, plain: bool = False) -> Drawing:
    """Return an image of 84 to 340 pixels with a scene's outlines or the glyphs of writing.

    `plain` draws scenes without turns, textures, outlines and wear, for first steps of training.
    """
    least, twice = (84, 112) if isinstance(picture, Scene) else (112, 224)
    sides = sorted((112, 128, 160, 224, 256, 336, twice))
    side = int(rng.choice((*sides, int(rng.integers(least, 340)))))
    size = max(8, round(picture.width * side)), max(8, round(picture.height * side))
    if isinstance(picture, Scene):
        return _draw_scene(picture, rng, plain, side, size)
    even, inks = rng.random() < 0.4, {line.colour for line in picture.lines}
    for _ in range(8):
        image, ground = paint(picture.background, rng, size, even)
        if all(math.dist(anchors()[ink][0], ground) > 120 for ink in inks):
            break
    press = _Press(image, side, ground, rng)
    if isinstance(picture, Chart):
        press.chart(picture)
    elif isinstance(picture, Page):
        press.page(picture)
    for line in picture.lines:
        if line.role != "stamp":
            press.write(line)
    return Drawing(wear(image, rng), picture, glyphs=tuple(press.glyphs))


def _draw_scene(scene: Scene, rng: Generator, plain: bool, longer: int, size: Size) -> Drawing:
    """Draw shapes, mostly two or three times as large as the image."""
    finer = 1 if rng.random() < 0.3 else 3 if longer <= 160 else 2
    image, ground = paint(scene.background, rng, (size[0] * finer, size[1] * finer), plain)
    style, pen = _Style(rng, plain, ground), ImageDraw.Draw(image)
    outlines, shapes = [], []
    for shape in scene.shapes:
        outlines.append(tuple(style.draw(pen, shape, longer * finer)))
        xs, ys = zip(*outlines[-1], strict=True)
        shapes.append(replace(shape, box=(min(xs), min(ys), max(xs), max(ys))))
    image = image.resize(size, Image.Resampling.BOX) if finer > 1 else image
    image = image if plain else wear(image, rng)
    return Drawing(image, replace(scene, shapes=tuple(shapes)), tuple(outlines))


class _Style:
    """What the shapes of one image share: turns, proportions, tones and outlines."""

    def __init__(self, rng: Generator, plain: bool, ground: Tone) -> None:
        self._rng, self._plain, self._ground = rng, plain, ground
        turns = ("upright", "slightly", "any")
        self._turned = "upright" if plain else rng.choice(turns, p=(0.42, 0.28, 0.3))
        self._saltire = not plain and rng.random() < 0.12
        self._slim = rng.uniform(0, 1) if plain or rng.random() < 0.6 else None
        self._even = plain or rng.random() < 0.5
        edges = ("none", "black", "darker", "white", "grey", "hollow")
        self._edge = "none" if plain else rng.choice(edges, p=(0.57, 0.16, 0.11, 0.07, 0.03, 0.06))
        self._share = rng.uniform(0.03, 0.16)
        self._same = rng.random() < 0.6
        self._tones: dict[str, Tone] = {}

    def _outline(self, shape: Shape) -> list[Point]:
        """Return a shape's polygon; squares and diamonds stay apart, as neither is turned far."""
        rng, kind = self._rng, shape.kind
        if self._turned == "any" and kind in ("triangle", "star", "circle"):
            turn = rng.uniform(0, 2 * math.pi)
        else:
            most = 0 if self._turned == "upright" else 8 if kind == "diamond" else 17
            turn = math.radians(rng.uniform(-most, most))
            turn += math.pi / 4 if kind == "cross" and self._saltire else 0.0
        slim = rng.uniform(0, 1) if self._slim is None else self._slim
        if kind == "diamond":
            aspect = 0.7 if self._plain else float(rng.choice((1.0, 0.7, rng.uniform(0.5, 1.0))))
        else:
            low, high = (0.75, 1.1) if kind == "triangle" else (0.88, 1.0)
            aspect = 1.0 if self._even else rng.uniform(low, high)
        points = polygon(kind, shape.x, shape.y, shape.radius, turn, aspect, slim)
        if kind != "triangle" or self._plain or rng.random() >= 0.5:
            return points
        side = 0.85 * shape.radius  # a triangle, at times right-angled, that fills its box
        down = -side if points[0][1] > shape.y else side
        left, right, base = shape.x - side, shape.x + side, shape.y + down
        apex = left if not self._even and rng.random() < 0.3 else shape.x
        return [(apex, shape.y - down), (right, base), (left, base)]

    def _fill(self, colour: str) -> Tone:
        """Return a tone that differs from the ground, at times the same for all of a colour."""
        if not (self._same and colour in self._tones):
            for _ in range(13):
                self._tones[colour] = sample_tone(self._rng, colour)
                if math.dist(self._tones[colour], self._ground) > 55:
                    break
        return self._tones[colour]

    def draw(self, pen: ImageDraw.ImageDraw, shape: Shape, side: int) -> list[Point]:
        """Draw a shape on a canvas whose longer side has `side` pixels; return its outline."""
        outline, fill = self._outline(shape), self._fill(shape.colour)
        red, green, blue = (int(0.6 * value) for value in fill)
        tones = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (90, 90, 90), "hollow": fill}
        edge = (tones | {"darker": (red, green, blue)}).get(self._edge)
        width = max(1, round(self._share * shape.radius * side))
        points = [(x * side, y * side) for x, y in outline]
        if self._edge == "hollow":
            width += max(1, side // 84)
        else:
            pen.polygon(points, fill)
        if edge is not None:
            pen.line([*points, *points[:2]], edge, width, "curve")
        return outline


class _Press:
    """Draws on one image with one font and one tone for each colour, and notes the glyphs."""

    def __init__(self, image: Image.Image, side: int, ground: Tone, rng: Generator) -> None:
        self.glyphs: list[Glyph] = []
        self._image, self._side, self._ground, self._rng = image, side, ground, rng
        self._font, self._pen = pick(rng, TRAINED), ImageDraw.Draw(image)
        self._tones: dict[str, Tone] = {}
        mixed = 255 if sum(ground) < 300 else 40
        red, green, blue = (int(0.45 * value + 0.55 * mixed) for value in ground)
        self._grey: Tone = (red, green, blue)

    def _tone(self, colour: str) -> Tone:
        """Return the tone of a colour, which differs from the ground."""
        if colour not in self._tones:
            tones = [sample_tone(self._rng, colour)]
            while math.dist(tones[-1], self._ground) < 110 and len(tones) < 8:
                tones.append(sample_tone(self._rng, colour))
            self._tones[colour] = max(tones, key=lambda tone: math.dist(tone, self._ground))
        return self._tones[colour]

    def _set(self, line: Line, turn: float = 0.0) -> ImageFont.FreeTypeFont:
        """Return the font in a size that fits the line; note where its characters will be."""
        size = max(6, round(line.height * self._side / capital(self._font)))
        room = line.width * self._side
        while size > 6 and (total := font(self._font, size).getlength(line.text)) > room + 1:
            size = max(6, min(size - 1, int(size * room / total)))
        sized = font(self._font, size)
        steps, total = [sized.getlength(letter) for letter in line.text], sized.getlength(line.text)
        along, scale = -total / 2, total / sum(steps)  # kerning
        for index, (letter, step) in enumerate(zip(line.text, steps, strict=True)):
            middle = (along + step * scale / 2) / self._side
            x, y = line.x + middle * math.cos(turn), line.y + middle * math.sin(turn)
            self.glyphs.append(Glyph(letter, x, y, index, line))
            along += step * scale
        return sized

    def write(self, line: Line) -> None:
        """Write a line around its middle."""
        sized, x, y = self._set(line), line.x * self._side, line.y * self._side
        left = x - sized.getlength(line.text) / 2
        self._pen.text((left, y), line.text, self._tone(line.colour), sized, "lm")

    def chart(self, chart: Chart) -> None:
        """Draw bars, at times with grid lines, edges and axes."""
        side, base, rng = self._side, chart.base * self._side, self._rng
        if rng.random() < 0.25:
            for level in np.linspace(0.15, 1, int(rng.integers(3, 7))):
                y = base - level * (base - 0.06 * side)
                self._pen.line([(0, y), (chart.width * side, y)], self._grey)
        edge = (None, (0, 0, 0), (90, 90, 90))[int(rng.choice(3, p=(0.7, 0.2, 0.1)))]
        for bar in chart.bars:
            left, right = (bar.x - bar.width / 2) * side, (bar.x + bar.width / 2) * side
            box = (left, base - bar.height * side, right, base)
            self._pen.rectangle(box, self._tone(bar.colour), edge)
        if rng.random() < 0.6:
            left = (chart.bars[0].x - chart.bars[0].width / 2 - 0.02) * side
            top = 0.05 * side if rng.random() < 0.5 else base
            points = [(left, top), (left, base), (0.98 * chart.width * side, base)]
            self._pen.line(points, self._grey, max(1, side // 112))

    def page(self, page: Page) -> None:
        """Draw bars, blocks or tiny letters as small print, at times a rule, and the stamp."""
        side, rng = self._side, self._rng
        style = int(rng.integers(3))
        tall = max(1, round(rng.uniform(0.015, 0.03) * side))
        for stroke in page.strokes:
            x, y, end = stroke.x * side, stroke.y * side, stroke.x * side + stroke.width * side
            if style == 2:
                sized = font(self._font, max(5, round(0.05 * side)))
                text = "".join("aenost "[i] for i in rng.integers(7, size=60))
                text = text[: max(1, int(60 * stroke.width * side / sized.getlength(text)))]
                self._pen.text((x, y), text, self._grey, sized, "lm")
            while style != 2 and x < end - tall:
                long = end - x if style == 0 else min(rng.uniform(1.5, 6) * tall, end - x)
                self._pen.rectangle((x, y - tall / 2, x + long, y + tall / 2), self._grey)
                x += long + tall
        if rng.random() < 0.25:
            y = (page.total.y - 0.08) * side
            self._pen.line([(0.05 * side, y), ((page.width - 0.05) * side, y)], self._grey)
        if page.stamp is not None:
            self._stamp(page.stamp)

    def _stamp(self, stamp: Stamp) -> None:
        """Draw a ring or a frame, at times filled, turned together with its text."""
        side, rng = self._side, self._rng
        wide, tall = round(stamp.width * side), round(stamp.height * side)
        mask = Image.new("L", (wide, tall), 0)
        pen = ImageDraw.Draw(mask)
        shape = pen.ellipse if stamp.round else pen.rectangle
        fill = 255 if stamp.line is None and rng.random() < 0.5 else 0
        edge = max(1, round(rng.uniform(0.012, 0.03) * side))
        shape((0, 0, wide - 1, tall - 1), fill, 255, edge)
        if stamp.line is not None:
            sized = self._set(stamp.line, stamp.turn)
            pen.text((wide / 2, tall / 2), stamp.line.text, 255, sized, "mm")
        mask = mask.rotate(math.degrees(-stamp.turn), Image.Resampling.BILINEAR, expand=True)
        left, top = round(stamp.x * side - mask.width / 2), round(stamp.y * side - mask.height / 2)
        self._image.paste(self._tone(stamp.colour), (left, top), mask)
