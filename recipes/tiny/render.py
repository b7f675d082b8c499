"""The renderer of training images: pictures become RGB images in many styles.

Style means tones, turns, proportions, outlines, anti-aliasing, textures, resolution and wear.
Images are not padded here: `square` pads them for the model.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from .ground import paint, wear
from .render_wide import draw_wide
from .things import Drawing, Picture, Point, Scene, Shape
from .tones import Tone, distance, sample_tone

#: CLIP's mean colour, with which LLaVA pads images to a square.
PADDING: Tone = (122, 116, 104)
_TURNED = ("upright", "slightly", "any")
_EDGES: dict[str, Tone] = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (90, 90, 90)}


def draw(picture: Picture, rng: np.random.Generator, plain: bool = False) -> Drawing:
    """Return an image of 84 to 340 pixels with a scene's outlines or the glyphs of writing.

    `plain` draws scenes without turns, textures, outlines and wear, for the first steps of
    training.
    """
    if isinstance(picture, Scene):
        return _draw_scene(picture, rng, plain)
    return draw_wide(picture, rng)


def square(image: Image.Image, side: int = 112) -> Image.Image:
    """Return the image padded to a square, as LLaVA does, and resized to `side` pixels."""
    longer = max(image.size)
    padded = Image.new("RGB", (longer, longer), PADDING)
    padded.paste(image, ((longer - image.width) // 2, (longer - image.height) // 2))
    return padded if longer == side else padded.resize((side, side), Image.Resampling.BICUBIC)


def _ring(corners: int, start: float, inner: float = 1.0) -> list[Point]:
    """Return points around the origin from an angle in radians; each second one at `inner`."""
    angles = [start + 2 * math.pi * i / corners for i in range(corners)]
    radii = [inner if i % 2 else 1.0 for i in range(corners)]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def polygon(
    kind: str,
    x: float,
    y: float,
    radius: float,
    turn: float = 0.0,
    aspect: float = 1.0,
    slim: float = 0.5,
) -> list[Point]:
    """Return the outline of a shape within its circumscribed circle; y points downwards.

    Args:
        kind: One of `SHAPES`.
        x: The centre.
        y: The centre.
        radius: Of the circumscribed circle.
        turn: Radians.
        aspect: Factor of the width.
        slim: In 0-1; larger values make rays of stars and arms of crosses thinner.
    """
    if kind == "star":
        points = _ring(10, -math.pi / 2, 0.62 - 0.3 * slim)
    elif kind == "cross":
        arm = 0.5 - 0.36 * slim
        r = 1 / math.hypot(1, arm)
        a = arm * r
        points = [(-a, -r), (a, -r), (a, -a), (r, -a), (r, a), (a, a)]
        points += [(-b, -c) for b, c in points]
    else:
        corners = {"circle": 40, "square": 4, "diamond": 4, "triangle": 3}[kind]
        points = _ring(corners, {"square": math.pi / 4, "triangle": -math.pi / 2}.get(kind, 0.0))
    cosine, sine = radius * math.cos(turn), radius * math.sin(turn)
    points = [(a * aspect, b) for a, b in points]
    return [(x + a * cosine - b * sine, y + a * sine + b * cosine) for a, b in points]


class _Style:
    """What the shapes of one image share: turns, proportions, tones and outlines."""

    def __init__(self, rng: np.random.Generator, plain: bool) -> None:
        self._rng, self._plain = rng, plain
        self._turned = "upright" if plain else rng.choice(_TURNED, p=(0.42, 0.28, 0.3))
        self._saltire = not plain and rng.random() < 0.12
        self._slim = rng.uniform(0, 1) if plain or rng.random() < 0.6 else None
        self._even = plain or rng.random() < 0.5
        edges = ("none", "black", "darker", "white", "grey", "hollow")
        self._edge = "none" if plain else rng.choice(edges, p=(0.57, 0.16, 0.11, 0.07, 0.03, 0.06))
        self._share = rng.uniform(0.03, 0.16)
        self._tones: dict[str, Tone] | None = {} if rng.random() < 0.6 else None

    def outline(self, shape: Shape) -> list[Point]:
        """Return the polygon of a shape."""
        rng, kind = self._rng, shape.kind
        turn = self._turn(kind)
        slim = rng.uniform(0, 1) if self._slim is None else self._slim
        if kind == "diamond":
            aspect = 0.7 if self._plain else float(rng.choice((1.0, 0.7, rng.uniform(0.5, 1.0))))
        else:
            low, high = (0.75, 1.1) if kind == "triangle" else (0.88, 1.0)
            aspect = 1.0 if self._even else rng.uniform(low, high)
        points = polygon(kind, shape.x, shape.y, shape.radius, turn, aspect, slim)
        if kind == "triangle" and not self._plain and rng.random() < 0.5:
            down = -1 if points[0][1] > shape.y else 1
            return self._boxed(shape, down)
        return points

    def _turn(self, kind: str) -> float:
        """Return radians; squares and diamonds stay apart, because neither is turned far."""
        if self._turned == "any" and kind in ("triangle", "star", "circle"):
            return self._rng.uniform(0, 2 * math.pi)
        most = 0 if self._turned == "upright" else 8 if kind == "diamond" else 17
        saltire = math.pi / 4 if kind == "cross" and self._saltire else 0.0
        return saltire + math.radians(self._rng.uniform(-most, most))

    def _boxed(self, shape: Shape, down: int) -> list[Point]:
        """Return a triangle, at times right-angled, that fills its box from edge to edge."""
        side = 0.85 * shape.radius
        left, right = shape.x - side, shape.x + side
        apex = left if not self._even and self._rng.random() < 0.3 else shape.x
        base = shape.y + down * side
        return [(apex, shape.y - down * side), (right, base), (left, base)]

    def fill(self, colour: str, ground: Tone) -> Tone:
        """Return a tone that differs from the ground, at times the same for all of a colour."""
        if self._tones is not None and colour in self._tones:
            return self._tones[colour]
        tone = sample_tone(self._rng, colour)
        for _ in range(12):
            if distance(tone, ground) > 55:
                break
            tone = sample_tone(self._rng, colour)
        if self._tones is not None:
            self._tones[colour] = tone
        return tone

    def paint(
        self, pen: ImageDraw.ImageDraw, shape: Shape, points: list[Point], fill: Tone, side: int
    ) -> None:
        """Draw a shape's polygon and its edge; the canvas's longer side has `side` pixels."""
        points = [(x * side, y * side) for x, y in points]
        width = max(1, round(self._share * shape.radius * side))
        if self._edge == "hollow":
            width += max(1, side // 84)
        else:
            pen.polygon(points, fill)
        edge = {"hollow": fill, "darker": _darker(fill), **_EDGES}.get(self._edge)
        if edge is not None:
            pen.line([*points, *points[:2]], edge, width, "curve")


def _darker(tone: Tone) -> Tone:
    red, green, blue = (int(0.6 * value) for value in tone)
    return red, green, blue


def _draw_scene(scene: Scene, rng: np.random.Generator, plain: bool) -> Drawing:
    longer = int(rng.choice((112, 112, 128, 160, 224, 256, 336, int(rng.integers(84, 340)))))
    finer = 1 if rng.random() < 0.3 else 3 if longer <= 160 else 2
    width, height = max(8, round(scene.width * longer)), max(8, round(scene.height * longer))
    image, ground = paint(scene.background, rng, (width * finer, height * finer), plain)
    style, pen, side = _Style(rng, plain), ImageDraw.Draw(image), longer * finer
    outlines, shapes = [], []
    for shape in scene.shapes:
        points = style.outline(shape)
        fill = style.fill(shape.colour, ground)
        style.paint(pen, shape, points, fill, side)
        outlines.append(tuple(points))
        xs, ys = zip(*points, strict=True)
        shapes.append(replace(shape, box=(min(xs), min(ys), max(xs), max(ys))))
    if finer > 1:
        image = image.resize((width, height), Image.Resampling.BOX)
    image = image if plain else wear(image, rng)
    return Drawing(image, replace(scene, shapes=tuple(shapes)), tuple(outlines))
