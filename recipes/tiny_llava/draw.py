"""The first renderer: scenes become Pillow pictures, drawn in as many manners as come to mind.

A :class:`Scene` and a seeded generator go in; a :class:`Drawing` comes out: the picture at its
own resolution and, for dense supervision, each shape's outline. Manner means: tones, rotation,
proportions, outlines, anti-aliasing, gradients, noise, resolution, resizing, JPEG. Pictures are
not padded here; whoever feeds a model pads them (:func:`square`).
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .ground import paint_ground
from .tones import Tone, distance, sample_tone
from .world import Scene, Shape

Point = tuple[float, float]
PADDING: Tone = (122, 116, 104)
"""The CLIP mean colour, with which LLaVA pads pictures to a square."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawn scene; ``outlines`` are polygons in the scene's coordinates, one a shape.

    The scene's shapes know their boxes.
    """

    image: Image.Image
    scene: Scene
    outlines: tuple[tuple[Point, ...], ...]


def draw(scene: Scene, rng: np.random.Generator, plain: bool = False) -> Drawing:
    """Draw the scene in a random manner, as an RGB picture of 84 to 340 pixels.

    ``plain`` leaves out turns, textures, outlines and wear: what an eye learns from first.
    """
    longer = int(rng.choice((112, 112, 128, 160, 224, 256, 336, int(rng.integers(84, 340)))))
    finest = 3 if longer <= 160 else 2
    scale = 1 if rng.random() < 0.3 else finest
    size = max(8, round(scene.width * longer)), max(8, round(scene.height * longer))
    ground, tone = paint_ground(scene.background, rng, (size[0] * scale, size[1] * scale), plain)
    turn = _Turns(rng, plain)
    pen = _Pen(rng, plain)
    form = _Forms(rng, plain)
    same_tones: dict[str, Tone] | None = {} if rng.random() < 0.6 else None
    canvas = ImageDraw.Draw(ground)
    outlines, drawn = [], []
    for shape in scene.shapes:
        outline = form(shape, turn(shape.kind))
        fill = sample_fill(rng, shape.colour, tone, same_tones)
        points = [(x * longer * scale, y * longer * scale) for x, y in outline]
        edge, width = pen(shape, fill, longer * scale)
        _stroke(canvas, points, None if pen.hollow else fill, edge, width)
        outlines.append(tuple(outline))
        xs, ys = zip(*outline, strict=True)
        drawn.append(replace(shape, box=(min(xs), min(ys), max(xs), max(ys))))
    picture = ground if scale == 1 else ground.resize(size, Image.Resampling.BOX)
    picture = picture if plain else wear(picture, rng)
    return Drawing(picture, replace(scene, shapes=tuple(drawn)), tuple(outlines))


def square(picture: Image.Image, side: int = 112) -> Image.Image:
    """Pad with the CLIP mean colour to a square, as LLaVA does, and resize to ``side`` pixels."""
    longer = max(picture.size)
    if picture.size != (longer, longer):
        padded = Image.new("RGB", (longer, longer), PADDING)
        padded.paste(picture, ((longer - picture.width) // 2, (longer - picture.height) // 2))
        picture = padded
    if longer == side:
        return picture
    return picture.resize((side, side), Image.Resampling.BICUBIC)


def polygon(
    kind: str, x: float, y: float, radius: float, turn: float, aspect: float, slim: float
) -> list[Point]:
    """The outline of a shape within its circumscribed circle.

    ``turn`` is in radians, ``aspect`` squeezes the width (1 = none), and ``slim`` in 0–1 makes
    a star's rays or a cross's arms thinner; y points downwards.
    """
    if kind == "circle":
        local = _ring(40, 0.0)
    elif kind == "square":
        local = _ring(4, math.pi / 4)
    elif kind == "diamond":
        local = _ring(4, 0.0)
    elif kind == "triangle":
        local = _ring(3, -math.pi / 2)
    elif kind == "star":
        local = _star(0.62 - 0.3 * slim)
    else:
        local = _cross(0.5 - 0.36 * slim)
    cosine, sine = math.cos(turn), math.sin(turn)
    spots = [(a * aspect, b) for a, b in local]
    return [
        (x + radius * (a * cosine - b * sine), y + radius * (a * sine + b * cosine))
        for a, b in spots
    ]


def _ring(corners: int, start: float) -> list[Point]:
    angles = [start + 2 * math.pi * i / corners for i in range(corners)]
    return [(math.cos(a), math.sin(a)) for a in angles]


def _star(inner: float) -> list[Point]:
    rays = [-math.pi / 2 + math.pi * i / 5 for i in range(10)]
    return [
        (math.cos(a) * (inner if i % 2 else 1.0), math.sin(a) * (inner if i % 2 else 1.0))
        for i, a in enumerate(rays)
    ]


def _cross(arm: float) -> list[Point]:
    """A plus sign whose arms have half-width ``arm`` of their reach; the corners touch 1."""
    reach = 1 / math.hypot(1, arm)
    a = arm * reach
    r = reach
    return [
        (-a, -r), (a, -r), (a, -a), (r, -a), (r, a), (a, a),
        (a, r), (-a, r), (-a, a), (-r, a), (-r, -a), (-a, -a),
    ]  # fmt: skip


class _Turns:
    """How far each shape of one picture is turned: not at all, a little, or freely."""

    def __init__(self, rng: np.random.Generator, plain: bool) -> None:
        self._rng = rng
        self._manner = 0 if plain else int(rng.choice(3, p=(0.42, 0.28, 0.30)))
        self._saltire = not plain and bool(rng.random() < 0.12)

    def __call__(self, kind: str) -> float:
        """Radians. Squares and diamonds stay apart: neither is turned far."""
        turn = math.pi / 4 if kind == "cross" and self._saltire else 0.0
        if self._manner == 0:
            return turn
        if self._manner == 2 and kind in ("triangle", "star", "circle"):
            return float(self._rng.uniform(0, 2 * math.pi))
        most = 8 if kind == "diamond" else 17
        return turn + math.radians(float(self._rng.uniform(-most, most)))


class _Forms:
    """The proportions of one picture's shapes: shared by all of a kind, or each its own."""

    def __init__(self, rng: np.random.Generator, plain: bool) -> None:
        self._rng = rng
        self._plain = plain
        self._slim = float(rng.uniform(0, 1)) if plain or rng.random() < 0.6 else None
        self._even = plain or bool(rng.random() < 0.5)

    def __call__(self, shape: Shape, turn: float) -> list[Point]:
        rng = self._rng
        slim = float(rng.uniform(0, 1)) if self._slim is None else self._slim
        if shape.kind == "diamond":
            aspect = 0.7 if self._plain else float(rng.choice((1.0, 0.7, rng.uniform(0.5, 1.0))))
        elif shape.kind == "triangle":
            aspect = 1.0 if self._even else float(rng.uniform(0.75, 1.1))
        else:
            aspect = 1.0 if self._even else float(rng.uniform(0.88, 1.0))
        outline = polygon(shape.kind, shape.x, shape.y, shape.radius, turn, aspect, slim)
        if shape.kind == "triangle" and not self._plain and rng.random() < 0.5:
            return _in_box(outline, shape, not self._even)
        return outline


def _in_box(outline: list[Point], shape: Shape, right_angled: bool) -> list[Point]:
    """A triangle that fills the bounding box, as most generators draw it."""
    side = shape.radius * 0.85
    x, y = shape.x, shape.y
    apex = x - side if right_angled and shape.x % 0.1 < 0.03 else x
    down = -1.0 if outline[0][1] > y else 1.0
    return [(apex, y - down * side), (x + side, y + down * side), (x - side, y + down * side)]


def sample_fill(
    rng: np.random.Generator, name: str, ground: Tone, shared: dict[str, Tone] | None
) -> Tone:
    """A tone that stands out from the ground; the same for all of a name where ``shared``."""
    if shared is not None and name in shared:
        return shared[name]
    tone = sample_tone(rng, name)
    for _ in range(12):
        if distance(tone, ground) > 55:
            break
        tone = sample_tone(rng, name)
    if shared is not None:
        shared[name] = tone
    return tone


class _Pen:
    """What outlines one picture's shapes have; returns (colour or None, width in pixels)."""

    def __init__(self, rng: np.random.Generator, plain: bool) -> None:
        styles = ("none", "black", "darker", "white", "grey", "hollow")
        style = str(rng.choice(styles, p=(0.57, 0.16, 0.11, 0.07, 0.03, 0.06)))
        self._style = "none" if plain else style
        self._share = float(rng.uniform(0.03, 0.16))

    @property
    def hollow(self) -> bool:
        """Whether shapes are only their outline, drawn in their own colour."""
        return self._style == "hollow"

    def __call__(self, shape: Shape, fill: Tone, side: int) -> tuple[Tone | None, int]:
        width = max(1, round(self._share * shape.radius * side))
        if self._style == "hollow":
            return fill, width + max(1, side // 84)
        if self._style == "black":
            return (0, 0, 0), width
        if self._style == "white":
            return (255, 255, 255), width
        if self._style == "grey":
            return (90, 90, 90), width
        if self._style == "darker":
            red, green, blue = (int(value * 0.6) for value in fill)
            return (red, green, blue), width
        return None, 0


def _stroke(
    canvas: ImageDraw.ImageDraw,
    points: list[Point],
    fill: Tone | None,
    edge: Tone | None,
    width: int,
) -> None:
    if fill is not None:
        canvas.polygon(points, fill=fill)
    if edge is not None:
        canvas.line([*points, points[0], points[1]], fill=edge, width=width, joint="curve")


def wear(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """What happens to pictures on their way: noise over all, blur, resizing, JPEG."""
    chance = rng.random(4)
    if chance[0] < 0.12:
        pixels = np.asarray(picture, np.float32)
        noise = rng.normal(0, float(rng.uniform(3, 16)), pixels.shape)
        picture = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    if chance[1] < 0.06:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.0))))
    if chance[2] < 0.12:
        share = float(rng.uniform(0.6, 1.8))
        size = max(16, round(picture.width * share)), max(16, round(picture.height * share))
        method = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR)[int(rng.random() < 0.7)]
        picture = picture.resize(size, method)
    if chance[3] < 0.25:
        packed = io.BytesIO()
        picture.save(packed, "JPEG", quality=int(rng.integers(40, 96)))
        picture = Image.open(packed).convert("RGB")
    return picture
