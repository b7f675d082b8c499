"""The second renderer: for evaluation only, never for training.

Written apart from :mod:`~recipes.tiny_llava.draw`: shapes are signed-distance fields evaluated per
pixel in numpy, with tones, sizes, proportions, layouts and backgrounds of its own. The words that
go with it are in :mod:`~recipes.tiny_llava.stranger`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .world import COLOURS, SHAPES, Scene, Shape

Field = NDArray[np.float64]

TONES: dict[str, tuple[tuple[int, int, int], ...]] = {
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


def sample(rng: np.random.Generator) -> Scene:
    """A scene of 1–5 shapes laid out by dart throwing on a jittered ring, its own way."""
    count = int(rng.integers(1, 6))
    background = str(rng.choice(COLOURS)) if rng.random() < 0.6 else "white"
    colours = [name for name in COLOURS if name != background]
    few = list(rng.permutation(colours))[: int(rng.integers(2, 5))]
    shapes: list[Shape] = []
    centre = rng.uniform(0.44, 0.56, size=2)
    start = float(rng.uniform(0, 2 * math.pi))
    for index in range(count):
        if count == 1:
            x, y, radius = *centre, float(rng.uniform(0.13, 0.4))
        else:
            angle = start + 2 * math.pi * index / count + float(rng.uniform(-0.25, 0.25))
            reach = float(rng.uniform(0.25, 0.32))
            x, y = centre + reach * np.array([math.cos(angle), math.sin(angle)])
            radius = float(rng.uniform(0.06, min(0.16, 0.62 / count)))
        kind = SHAPES[int(rng.integers(6))]
        shapes.append(Shape(kind, str(rng.choice(few)), float(x), float(y), radius))
    return Scene(tuple(shapes), background)


def render(scene: Scene, rng: np.random.Generator, side: int = 192) -> Image.Image:
    """The picture that :func:`paint` makes of the scene."""
    return paint(scene, rng, side)[1]


def paint(scene: Scene, rng: np.random.Generator, side: int = 192) -> tuple[Scene, Image.Image]:
    """Draw by signed distances: every pixel blends by how far it lies within each shape.

    Returns:
        The scene, its shapes' boxes known, and its picture.
    """
    axis = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(axis, axis)
    canvas = np.empty((side, side, 3))
    canvas[:] = _tone(scene.background or "white", rng)
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
        tone = _tone(shape.colour, rng)
        mask = np.clip(0.5 - inside * side, 0, 1)[..., None]
        if rim:
            edge = np.array((15.0, 15.0, 15.0)) if dark else tone * 0.55
            canvas = canvas * (1 - mask) + edge * mask
            mask = np.clip(0.5 - (inside + rim) * side, 0, 1)[..., None]
        canvas = canvas * (1 - mask) + tone * mask
        drawn.append(replace(shape, box=_box(inside < 0)))
    picture = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    return replace(scene, shapes=tuple(drawn)), picture


def _box(inside: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is inside, in fractions of the side."""
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    side = len(inside)
    edges = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    left, top, right, bottom = (float(edge) / side for edge in edges)
    return left, top, right, bottom


def _tone(name: str, rng: np.random.Generator) -> Field:
    tones = TONES[name]
    return np.array(tones[int(rng.integers(len(tones)))], float) + rng.uniform(-4, 4, 3)


def _field(shape: Shape, x: Field, y: Field, rng: np.random.Generator) -> Field:
    """Signed distance to the shape's edge, negative inside, in fractions of the side."""
    dx, dy = x - shape.x, y - shape.y
    if shape.kind not in ("square", "diamond"):
        turn = float(rng.normal(0, 0.15))
        dx, dy = (
            dx * math.cos(turn) + dy * math.sin(turn),
            dy * math.cos(turn) - dx * math.sin(turn),
        )
    r = shape.radius
    if shape.kind == "circle":
        return np.hypot(dx, dy) - r * 0.92
    if shape.kind == "square":
        return np.maximum(np.abs(dx), np.abs(dy)) - r * 0.78
    if shape.kind == "diamond":
        slim = float(rng.uniform(0.6, 0.9))
        return (np.abs(dx) / slim + np.abs(dy) - r) * slim * 0.75
    if shape.kind == "triangle":
        return np.maximum(np.abs(dx) * 0.866 - dy * 0.5, dy) - r * 0.5 + 0.12 * r
    if shape.kind == "cross":
        arm = r * float(rng.uniform(0.22, 0.36))
        upright = np.maximum(np.abs(dx) - arm, np.abs(dy) - r * 0.9)
        level = np.maximum(np.abs(dy) - arm, np.abs(dx) - r * 0.9)
        return np.minimum(upright, level)
    return _star_field(dx, dy, r, float(rng.uniform(0.4, 0.52)))


def _star_field(dx: Field, dy: Field, radius: float, inner: float) -> Field:
    """A five-pointed star: within a fifth of the circle, the line from a tip to a notch."""
    fifth = 2 * math.pi / 5
    angle = np.abs((np.arctan2(dx, -dy) + fifth / 2) % fifth - fifth / 2)
    along, aside = np.hypot(dx, dy) * np.cos(angle), np.hypot(dx, dy) * np.sin(angle)
    notch_along = radius * inner * math.cos(fifth / 2)
    notch_aside = radius * inner * math.sin(fifth / 2)
    run, rise = notch_along - radius, notch_aside
    length = math.hypot(run, rise)
    return ((along - radius) * rise - aside * run) / length
