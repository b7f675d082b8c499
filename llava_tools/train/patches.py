"""What every image patch should say: the ground truth of a drawing on the model's patch grid.

A :class:`Scene` or a :class:`Drawing` goes in, small arrays come out. :func:`meaning` is a sparse
description of each of the 8×8 patches as weights over named attributes; multiplied with the codes
of :func:`codebook` it is the feature vector that the language model is trained on before it ever
sees a picture, and that the eye learns to produce. :func:`cover` labels the patches by what
covers them, for the eye's dense heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .draw import Drawing
from .world import COLOURS, SHAPES, Scene

GRID = 8
"""Patches along each side of the padded square."""
PATCHES = GRID * GRID

GROUNDS = (*COLOURS, "unnamed", "padding")
ATTRIBUTES = (
    "shape here",
    *COLOURS,
    *SHAPES,
    *(f"on {name}" for name in GROUNDS),
    *(f"row {i}" for i in range(GRID)),
    *(f"column {i}" for i in range(GRID)),
)
_COLOUR = 1
_SHAPE = _COLOUR + len(COLOURS)
_GROUND = _SHAPE + len(SHAPES)
_ROW = _GROUND + len(GROUNDS)
_COLUMN = _ROW + GRID

_SOFT = 1.0 / 7
"""Half-width, in patches, of the band in which a centre belongs to two neighbours: 2 px of 14."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def codebook(size: int, seed: int = 7) -> Floats:
    """One fixed code an attribute: orthonormal rows, (attributes, ``size``) float32."""
    noise = np.random.default_rng(seed).normal(size=(size, len(ATTRIBUTES)))
    return np.linalg.qr(noise)[0].T.astype(np.float32).copy()


def meaning(scene: Scene, centres: Floats | None = None) -> Floats:
    """Weights of every attribute in every patch, row by row: (64, attributes) float32 in 0–1.

    A shape speaks from the patch that holds its centre alone (shared softly between neighbours
    where the centre lies on their border), so that counting shapes is counting patches.
    ``centres`` (n, 2) in 0–1 on the padded square overrides the scene's own.
    """
    weights = np.zeros((PATCHES, len(ATTRIBUTES)), np.float32)
    ground = len(COLOURS) if scene.background is None else COLOURS.index(scene.background)
    inside = _inside(scene)
    weights[np.arange(PATCHES), _GROUND + np.where(inside, ground, len(COLOURS) + 1)] = 1
    rows, columns = np.divmod(np.arange(PATCHES), GRID)
    weights[np.arange(PATCHES), _ROW + rows] = 1
    weights[np.arange(PATCHES), _COLUMN + columns] = 1
    spots = centres if centres is not None else [scene.padded(shape) for shape in scene.shapes]
    for shape, (x, y) in zip(scene.shapes, spots, strict=True):
        share = np.outer(_split(float(y)), _split(float(x))).reshape(PATCHES)
        weights[:, 0] += share
        weights[:, _COLOUR + COLOURS.index(shape.colour)] += share
        weights[:, _SHAPE + SHAPES.index(shape.kind)] += share
    return np.minimum(weights, 1)


def centres(drawing: Drawing) -> Floats:
    """The middle of each outline's bounding box on the padded square: (shapes, 2) in 0–1."""
    scene = drawing.scene
    offset = np.array([(1 - scene.width) / 2, (1 - scene.height) / 2])
    middles = [
        (np.min(outline, axis=0) + np.max(outline, axis=0)) / 2 + offset
        for outline in drawing.outlines
    ]
    return np.asarray(middles, np.float32).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class Cover:
    """What covers each patch.

    ``shapes``, ``colours`` and ``grounds`` (64,) int64: shapes and colours count from 1, 0 is a
    patch that no shape covers noticeably; grounds index ``GROUNDS``. ``mask`` (64, 49) float32 in
    0–1: how much of each of a patch's 7×7 cells any shape covers.
    """

    shapes: Ints
    colours: Ints
    grounds: Ints
    mask: Floats


def cover(drawing: Drawing, least: float = 0.12) -> Cover:
    """Labels of what covers each patch; a shape is noticed where it covers ``least`` of it."""
    scene, side = drawing.scene, 112
    owners = Image.new("L", (side, side))
    pen = ImageDraw.Draw(owners)
    left, top = (1 - scene.width) / 2, (1 - scene.height) / 2
    for index, outline in enumerate(drawing.outlines):
        pen.polygon([((x + left) * side, (y + top) * side) for x, y in outline], fill=index + 1)
    step = side // GRID
    cells = np.asarray(owners).reshape(GRID, step, GRID, step).swapaxes(1, 2)
    cells = cells.reshape(PATCHES, step * step)
    shares = np.stack([(cells == i + 1).mean(axis=1) for i in range(len(scene.shapes))] or [[0.0]])
    best, most = shares.argmax(axis=0), shares.max(axis=0)
    shapes = np.array([SHAPES.index(shape.kind) + 1 for shape in scene.shapes] or [0])
    colours = np.array([COLOURS.index(shape.colour) + 1 for shape in scene.shapes] or [0])
    covered = np.broadcast_to(most >= least, (PATCHES,))
    ground = len(COLOURS) if scene.background is None else COLOURS.index(scene.background)
    half = step // 2
    mask = (cells > 0).reshape(PATCHES, half, 2, half, 2).mean(axis=(2, 4), dtype=np.float32)
    return Cover(
        np.where(covered, shapes[best], 0),
        np.where(covered, colours[best], 0),
        np.where(_inside(scene), ground, len(COLOURS) + 1),
        mask.reshape(PATCHES, half * half),
    )


def _inside(scene: Scene) -> NDArray[np.bool_]:
    """Which patches' centres lie on the canvas rather than on its padding: (64,)."""
    middle = np.abs((np.arange(GRID) + 0.5) / GRID - 0.5)
    return np.outer(middle < scene.height / 2, middle < scene.width / 2).reshape(PATCHES)


def _split(position: float) -> Floats:
    """A coordinate in 0–1 as weights (8,) over the rows, summing to one."""
    edges = np.clip((position * GRID - np.arange(1, GRID)) / (2 * _SOFT) + 0.5, 0, 1)
    passed = np.concatenate(([1.0], edges, [0.0]))
    return (passed[:-1] - passed[1:]).astype(np.float32)
