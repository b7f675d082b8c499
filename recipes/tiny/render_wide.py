"""Drawings of writing, charts and pages for training, with the place of each character."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .fonts import TRAINED, capital, font
from .ground import paint, wear
from .things import Chart, Drawing, Glyph, Line, Page, Stamp, Stroke, Writing
from .tones import Tone, anchors, distance, sample_tone
from .words import pick


def draw_wide(picture: Writing | Chart | Page, rng: np.random.Generator) -> Drawing:
    """Return an image of 112 to 340 pixels in one random font, with its glyphs."""
    longer = int(rng.choice((112, 128, 160, 224, 224, 256, 336, int(rng.integers(112, 340)))))
    size = max(8, round(picture.width * longer)), max(8, round(picture.height * longer))
    plain = rng.random() < 0.4
    inks = {line.colour for line in picture.lines}
    for _ in range(8):
        image, ground = paint(picture.background, rng, size, plain)
        if all(distance(anchors()[ink][0], ground) > 120 for ink in inks):
            break
    press = _Press(image, longer, ground, rng)
    if isinstance(picture, Chart):
        press.chart(picture)
    elif isinstance(picture, Page):
        press.page(picture)
    for line in picture.lines:
        if line.role != "stamp":
            press.write(line)
    return Drawing(wear(image, rng), picture, glyphs=tuple(press.glyphs))


class _Press:
    """Draws on one image with one font and one tone for each colour.

    Attributes:
        glyphs: The characters drawn so far.
    """

    def __init__(
        self, image: Image.Image, side: int, ground: Tone, rng: np.random.Generator
    ) -> None:
        self.glyphs: list[Glyph] = []
        self._image, self._side, self._ground, self._rng = image, side, ground, rng
        self._font = pick(rng, TRAINED)
        self._tones: dict[str, Tone] = {}
        self._pen = ImageDraw.Draw(image)
        mixed = 255 if sum(ground) < 300 else 40
        red, green, blue = (int(0.45 * value + 0.55 * mixed) for value in ground)
        self._grey: Tone = (red, green, blue)

    def _tone(self, colour: str) -> Tone:
        """Return the tone of a colour, which differs from the ground."""
        if colour not in self._tones:
            tones = [sample_tone(self._rng, colour)]
            while distance(tones[-1], self._ground) < 110 and len(tones) < 8:
                tones.append(sample_tone(self._rng, colour))
            self._tones[colour] = max(tones, key=lambda tone: distance(tone, self._ground))
        return self._tones[colour]

    def _sized(self, line: Line) -> ImageFont.FreeTypeFont:
        """Return the font in the size for the line's height, smaller if it is too wide."""
        size = max(6, round(line.height * self._side / capital(self._font)))
        room = line.width * self._side
        while size > 6 and (long := font(self._font, size).getlength(line.text)) > room + 1:
            size = max(6, min(size - 1, int(size * room / long)))
        return font(self._font, size)

    def write(self, line: Line) -> None:
        """Write a line around its middle."""
        sized, x, y = self._sized(line), line.x * self._side, line.y * self._side
        left = x - sized.getlength(line.text) / 2
        self._pen.text((left, y), line.text, self._tone(line.colour), sized, "lm")
        self._place(line, sized)

    def _place(self, line: Line, sized: ImageFont.FreeTypeFont, turn: float = 0.0) -> None:
        """Note where the line's characters are, turned by radians around its middle."""
        steps = [sized.getlength(letter) for letter in line.text]
        total = sized.getlength(line.text)
        scale = total / sum(steps)  # kerning
        along = -total / 2
        for index, (letter, step) in enumerate(zip(line.text, steps, strict=True)):
            middle = (along + step * scale / 2) / self._side
            x, y = line.x + middle * math.cos(turn), line.y + middle * math.sin(turn)
            self.glyphs.append(Glyph(letter, x, y, index, line))
            along += step * scale

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
        """Draw the lines that are too small to read, at times a rule, and the stamp over them."""
        side, rng = self._side, self._rng
        style = int(rng.integers(3))
        tall = max(1, round(rng.uniform(0.015, 0.03) * side))
        for stroke in page.strokes:
            self._stroke(stroke, tall, style)
        if rng.random() < 0.25:
            y = (page.total.y - 0.08) * side
            self._pen.line([(0.05 * side, y), ((page.width - 0.05) * side, y)], self._grey)
        if page.stamp is not None:
            self._stamp(page.stamp)

    def _stroke(self, stroke: Stroke, tall: int, style: int) -> None:
        """Draw a bar (`style` 0), words as blocks (1) or letters far too small (2)."""
        x, y, length = (value * self._side for value in (stroke.x, stroke.y, stroke.width))
        if style == 2:
            sized = font(self._font, max(5, round(0.05 * self._side)))
            text = "".join("aenost "[i] for i in self._rng.integers(7, size=60))
            text = text[: max(1, int(60 * length / sized.getlength(text)))]
            self._pen.text((x, y), text, self._grey, sized, "lm")
            return
        end = x + length
        while x < end - tall:
            long = end - x if style == 0 else min(self._rng.uniform(1.5, 6) * tall, end - x)
            self._pen.rectangle((x, y - tall / 2, x + long, y + tall / 2), self._grey)
            x += long + tall

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
            sized = self._sized(stamp.line)
            pen.text((wide / 2, tall / 2), stamp.line.text, 255, sized, "mm")
            self._place(stamp.line, sized, stamp.turn)
        mask = mask.rotate(math.degrees(-stamp.turn), Image.Resampling.BILINEAR, expand=True)
        left, top = round(stamp.x * side - mask.width / 2), round(stamp.y * side - mask.height / 2)
        self._image.paste(self._tone(stamp.colour), (left, top), mask)
