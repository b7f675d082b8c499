"""The first renderer of writing, charts and pages: Pillow, in many manners.

One of :data:`~recipes.tiny_llava.wide.things.Wide` and a seeded generator go in; a :class:`Sheet`
comes out: the picture and where each character came to stand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from recipes.tiny_llava.draw import wear
from recipes.tiny_llava.ground import paint_ground
from recipes.tiny_llava.tones import ANCHORS, Tone, distance, sample_tone
from recipes.tiny_llava.words import pick

from .fonts import TRAINED, advance, capital, font
from .things import Chart, Line, Page, Stamp, Wide


@dataclass(frozen=True, slots=True)
class Glyph:
    """A character's middle in the picture's coordinates, and which one of its line it is."""

    letter: str
    x: float
    y: float
    index: int
    line: Line


@dataclass(frozen=True, slots=True)
class Sheet:
    """A drawn picture at its own resolution, what it shows, and its characters."""

    image: Image.Image
    scene: Wide
    glyphs: tuple[Glyph, ...]


def draw_wide(scene: Wide, rng: np.random.Generator, fonts: Sequence[str] = TRAINED) -> Sheet:
    """Draw it in a random manner, in one of ``fonts``, as an RGB picture of 112 to 340 pixels."""
    longer = int(rng.choice((112, 128, 160, 224, 224, 256, 336, int(rng.integers(112, 340)))))
    size = max(8, round(scene.width * longer)), max(8, round(scene.height * longer))
    plain = bool(rng.random() < 0.4)
    inks = {line.colour for line in scene.lines}
    for _ in range(8):
        ground, tone = paint_ground(scene.background, rng, size, plain)
        if all(distance(ANCHORS[ink][0], tone) > 120 for ink in inks):
            break
    press = _Press(ground, longer, tone, pick(rng, fonts), rng)
    if isinstance(scene, Chart):
        press.chart(scene)
    elif isinstance(scene, Page):
        press.page(scene)
    for line in scene.lines:
        if line.role != "stamp":
            press.write(line)
    return Sheet(wear(press.picture, rng), scene, tuple(press.glyphs))


class _Press:
    """Puts things on one picture: one font, one tone for each colour's name."""

    def __init__(
        self, picture: Image.Image, side: int, ground: Tone, name: str, rng: np.random.Generator
    ) -> None:
        self.picture = picture
        self.glyphs: list[Glyph] = []
        self._side, self._ground, self._font, self._rng = side, ground, name, rng
        self._tones: dict[str, Tone] = {}
        self._pen = ImageDraw.Draw(picture)
        ink = 255 if sum(ground) < 300 else 40
        red, green, blue = (int(0.45 * value + 0.55 * ink) for value in ground)
        self._grey: Tone = (red, green, blue)

    def _tone(self, name: str) -> Tone:
        if name not in self._tones:
            tones = [sample_tone(self._rng, name)]
            while distance(tones[-1], self._ground) < 110 and len(tones) < 8:
                tones.append(sample_tone(self._rng, name))
            self._tones[name] = max(tones, key=lambda tone: distance(tone, self._ground))
        return self._tones[name]

    def _sized(self, line: Line) -> ImageFont.FreeTypeFont:
        """The font at the size that gives the line's height, or its width if it is too wide."""
        size = max(6, round(line.height * self._side / capital(self._font)))
        while True:
            sized = font(self._font, size)
            if size <= 6 or sized.getlength(line.text) <= line.width * self._side + 1:
                return sized
            share = line.width * self._side / sized.getlength(line.text)
            size = max(6, min(size - 1, int(size * share)))

    def write(self, line: Line) -> None:
        """Write a line around its middle."""
        sized = self._sized(line)
        total = sized.getlength(line.text)
        left = line.x * self._side - total / 2
        top = line.y * self._side
        fill = self._tone(line.colour)
        self._pen.text((left, top), line.text, fill=fill, font=sized, anchor="lm")
        self._placed(line, sized, left, top)

    def _placed(self, line: Line, sized: ImageFont.FreeTypeFont, left: float, y: float) -> None:
        size = round(sized.size)
        steps = [advance(self._font, size, letter) for letter in line.text]
        scale = sized.getlength(line.text) / sum(steps)
        for index, (letter, step) in enumerate(zip(line.text, steps, strict=True)):
            x = (left + step * scale / 2) / self._side
            self.glyphs.append(Glyph(letter, x, y / self._side, index, line))
            left += step * scale

    def chart(self, chart: Chart) -> None:
        """Bars, and at times axes, grid lines, edges."""
        side, rng = self._side, self._rng
        style = rng.random(4)
        if style[0] < 0.25:
            for level in np.linspace(0.15, 1, int(rng.integers(3, 7))):
                y = (chart.base - level * (chart.base - 0.06)) * side
                self._pen.line([(0, y), (chart.width * side, y)], fill=self._grey)
        edge = None
        if style[1] < 0.3:
            edge = (0, 0, 0) if style[1] < 0.2 else (90, 90, 90)
        for bar in chart.bars:
            x, half = bar.x * side, bar.width * side / 2
            box = (x - half, (chart.base - bar.height) * side, x + half, chart.base * side)
            self._pen.rectangle(box, fill=self._tone(bar.colour), outline=edge)
        if style[2] < 0.6:
            y = chart.base * side
            first = (chart.bars[0].x - chart.bars[0].width / 2 - 0.02) * side
            last, width = chart.width * side * 0.98, max(1, side // 112)
            self._pen.line([(first, y), (last, y)], fill=self._grey, width=width)
            if style[3] < 0.5:
                self._pen.line([(first, y), (first, 0.05 * side)], fill=self._grey, width=width)

    def page(self, page: Page) -> None:
        """Lines that cannot be read, rules, and the stamp over them."""
        side, rng = self._side, self._rng
        manner = int(rng.integers(3))
        tall = max(1, round(float(rng.uniform(0.015, 0.03)) * side))
        for stroke in page.strokes:
            self._stroke(stroke.x * side, stroke.y * side, stroke.width * side, tall, manner)
        if rng.random() < 0.25:
            y = (page.total.y - 0.08) * side
            self._pen.line([(0.05 * side, y), ((page.width - 0.05) * side, y)], fill=self._grey)
        if page.stamp is not None:
            self._stamp(page.stamp)

    def _stroke(self, x: float, y: float, length: float, tall: int, manner: int) -> None:
        """A bar, words as blocks, or letters far too small."""
        if manner == 0:
            self._pen.rectangle((x, y - tall / 2, x + length, y + tall / 2), fill=self._grey)
            return
        if manner == 1:
            end = x + length
            while x < end - tall:
                long = min(float(self._rng.uniform(1.5, 6)) * tall, end - x)
                self._pen.rectangle((x, y - tall / 2, x + long, y + tall / 2), fill=self._grey)
                x += long + tall
            return
        sized = font(self._font, max(5, round(0.05 * self._side)))
        text = "".join("aenost "[at] for at in self._rng.integers(7, size=60))
        text = text[: max(1, int(60 * length / sized.getlength(text)))]
        self._pen.text((x, y), text, fill=self._grey, font=sized, anchor="lm")

    def _stamp(self, stamp: Stamp) -> None:
        """A ring or a frame, filled at times, turned with what is written in it."""
        side, rng = self._side, self._rng
        wide, tall = round(stamp.width * side), round(stamp.height * side)
        mask = Image.new("L", (wide, tall), 0)
        pen = ImageDraw.Draw(mask)
        line = max(1, round(float(rng.uniform(0.012, 0.03)) * side))
        shape = pen.ellipse if stamp.round else pen.rectangle
        filled = stamp.line is None and rng.random() < 0.5
        shape((0, 0, wide - 1, tall - 1), fill=255 if filled else 0, outline=255, width=line)
        if stamp.line is not None:
            sized = self._sized(stamp.line)
            pen.text((wide / 2, tall / 2), stamp.line.text, fill=255, font=sized, anchor="mm")
        turned = mask.rotate(math.degrees(-stamp.turn), Image.Resampling.BILINEAR, expand=True)
        corner = (
            round(stamp.x * side - turned.width / 2),
            round(stamp.y * side - turned.height / 2),
        )
        self.picture.paste(self._tone(stamp.colour), corner, turned)
        if stamp.line is not None:
            self._turned(stamp, stamp.line, sized)

    def _turned(self, stamp: Stamp, line: Line, sized: ImageFont.FreeTypeFont) -> None:
        start = len(self.glyphs)
        self._placed(line, sized, stamp.x * self._side - sized.getlength(line.text) / 2, 0.0)
        cosine, sine = math.cos(stamp.turn), math.sin(stamp.turn)
        for at in range(start, len(self.glyphs)):
            glyph = self.glyphs[at]
            along = glyph.x - stamp.x
            self.glyphs[at] = Glyph(
                glyph.letter, stamp.x + along * cosine, stamp.y + along * sine, glyph.index, line
            )
