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
from .wide.cells import GRID, Floats, outer, soft_cells
from .wide.codes import EDGE, WIDE_ATTRIBUTES, boxes_of, say_boxes, say_wide
from .wide.render import Sheet
from .wide.things import Wide
from .world import COLOURS, SHAPES, Scene

PATCHES = GRID * GRID

GROUNDS = (*COLOURS, "unnamed", "padding")
FIRST_ATTRIBUTES = (
    "shape here",
    *COLOURS,
    *SHAPES,
    *(f"on {name}" for name in GROUNDS),
    *(f"row {i}" for i in range(GRID)),
    *(f"column {i}" for i in range(GRID)),
)
ATTRIBUTES = (*FIRST_ATTRIBUTES, *WIDE_ATTRIBUTES)
"""What a patch can say; the codes of the first ones stay as they were before there were others."""
_COLOUR = 1
_SHAPE = _COLOUR + len(COLOURS)
_GROUND = _SHAPE + len(SHAPES)
_ROW = _GROUND + len(GROUNDS)
_COLUMN = _ROW + GRID
WIDE = len(FIRST_ATTRIBUTES)
"""Where the attributes of writing, charts, pages and boxes begin."""

Ints = NDArray[np.int64]

_LOUD = 2.0
_QUIET = 0.7
_CLEAR = 1.5
_FAINT = 0.7


def codebook(size: int, seed: int = 7) -> Floats:
    """One fixed code an attribute: orthogonal rows, (attributes, ``size``) float32.

    What a shape says is louder than what every patch says, its place and its ground: shapes fill
    few patches, and an attention that still looks everywhere would not hear them. Where ``size``
    leaves no room for more orthogonal rows, the later attributes have random ones.
    """
    noise = np.random.default_rng(seed).normal(size=(size, len(FIRST_ATTRIBUTES)))
    first = np.linalg.qr(noise)[0].T
    more = np.random.default_rng(seed + 1).normal(size=(len(WIDE_ATTRIBUTES), size))
    more -= more @ first.T @ first
    if size >= len(ATTRIBUTES):
        more = np.linalg.qr(more.T)[0].T
    else:
        more /= np.linalg.norm(more, axis=1, keepdims=True)
    return np.concatenate([first, more]).astype(np.float32) * loudnesses()[:, None]


def loudnesses() -> Floats:
    """How long each attribute's code is: (attributes,) float32."""
    loudness = np.ones(len(ATTRIBUTES), np.float32)
    loudness[:_GROUND] = _LOUD
    loudness[_ROW:WIDE] = _QUIET
    loudness[WIDE : WIDE + EDGE] = _CLEAR
    loudness[WIDE + EDGE :] = _FAINT
    return loudness


def meaning(
    scene: Scene,
    centres: Floats | None = None,
    shares: Floats | None = None,
) -> Floats:
    """Weights of every attribute in every patch, row by row: (64, attributes) float32 in 0–1.

    Every patch says its place, its ground, and the colour and kind of the shape that covers it,
    as far as it is covered. The patch that holds a shape's centre also says that a shape is here
    (softly shared between neighbours where the centre lies on their border), so that counting
    shapes is counting patches.

    Args:
        scene: What is drawn.
        centres: The shapes' centres on the padded square, (shapes, 2) in 0–1; else the scene's.
        shares: How much of each patch each shape covers, (shapes, 64) in 0–1; else guessed.
    """
    weights = _empty(scene)
    spots = centres if centres is not None else [scene.padded(shape) for shape in scene.shapes]
    covered = shares if shares is not None else _guessed(scene)
    for shape, (x, y), share in zip(scene.shapes, spots, covered, strict=True):
        here = _middle(float(x), float(y))
        said = np.maximum(here, share)
        weights[:, 0] += here
        weights[:, _COLOUR + COLOURS.index(shape.colour)] += said
        weights[:, _SHAPE + SHAPES.index(shape.kind)] += said
    say_boxes(weights[:, WIDE:], spots, boxes_of(scene))
    return np.minimum(weights, 1)


def wide_meaning(scene: Wide, sheet: Sheet | None = None) -> Floats:
    """As :func:`meaning`, of writing, a chart or a page; characters' places from its drawing."""
    weights = _empty(scene)
    say_wide(weights[:, WIDE:], weights[:, _COLOUR:_SHAPE], scene, sheet)
    return np.minimum(weights, 1, out=weights)


def middles(scene: Scene, colour: str | None, kind: str | None) -> Floats:
    """Where the shapes of a colour and a kind (any if ``None``) have their middles: (64,) float32.

    Each shape counts one in all, shared between neighbours where its middle lies on their border.
    """
    found = np.zeros(PATCHES, np.float32)
    for shape, box in zip(scene.shapes, boxes_of(scene), strict=True):
        if colour in (None, shape.colour) and kind in (None, shape.kind):
            found += _middle((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    return found


def _empty(scene: Scene | Wide) -> Floats:
    """Patches that say their place and their ground."""
    weights = np.zeros((PATCHES, len(ATTRIBUTES)), np.float32)
    weights[np.arange(PATCHES), _GROUND + _grounds(scene)] = 1
    rows, columns = np.divmod(np.arange(PATCHES), GRID)
    weights[np.arange(PATCHES), _ROW + rows] = 1
    weights[np.arange(PATCHES), _COLUMN + columns] = 1
    return weights


def _grounds(scene: Scene | Wide) -> Ints:
    """What each patch's ground is, an index of ``GROUNDS``: (64,)."""
    ground = len(COLOURS) if scene.background is None else COLOURS.index(scene.background)
    return np.where(_inside(scene), ground, len(COLOURS) + 1)


def _guessed(scene: Scene) -> Floats:
    """Roughly how much of each patch each shape covers, taking shapes for discs: (shapes, 64)."""
    fine = (np.arange(4 * GRID) + 0.5) / (4 * GRID)
    shares = np.zeros((len(scene.shapes), PATCHES), np.float32)
    for index, shape in enumerate(scene.shapes):
        x, y = scene.padded(shape)
        inside = np.hypot(fine[None] - x, fine[:, None] - y) < 0.75 * shape.radius
        shares[index] = inside.reshape(GRID, 4, GRID, 4).mean(axis=(1, 3)).reshape(PATCHES)
    return shares


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
    0–1: how much of each of a patch's 7×7 cells any shape covers, or −1 where nobody looks for
    shapes. ``shares`` (shapes, 64) float32 in 0–1: how much of each patch each shape covers.
    """

    shapes: Ints
    colours: Ints
    grounds: Ints
    mask: Floats
    shares: Floats


def cover(drawing: Drawing, least: float = 0.12) -> Cover:
    """Labels of what covers each patch; a shape is noticed where it covers ``least`` of it."""
    scene, side = drawing.scene, 112
    owners = Image.new("L", (side, side))
    pen = ImageDraw.Draw(owners)
    left, top = (1 - scene.width) / 2, (1 - scene.height) / 2
    for index, outline in enumerate(drawing.outlines):
        pen.polygon([((x + left) * side, (y + top) * side) for x, y in outline], fill=index + 1)
    step = side // GRID
    tiles = np.asarray(owners).reshape(GRID, step, GRID, step).swapaxes(1, 2)
    cells = tiles.reshape(PATCHES, step * step)
    shares = np.zeros((len(scene.shapes), PATCHES), np.float32)
    for index in range(len(scene.shapes)):
        shares[index] = (cells == index + 1).mean(axis=1)
    best = shares.argmax(axis=0) if scene.shapes else np.zeros(PATCHES, np.int64)
    most = shares.max(axis=0, initial=0.0)
    shapes = np.array([SHAPES.index(shape.kind) + 1 for shape in scene.shapes] or [0])
    colours = np.array([COLOURS.index(shape.colour) + 1 for shape in scene.shapes] or [0])
    covered = np.broadcast_to(most >= least, (PATCHES,))
    half = step // 2
    mask = (cells > 0).reshape(PATCHES, half, 2, half, 2).mean(axis=(2, 4), dtype=np.float32)
    return Cover(
        np.where(covered, shapes[best], 0),
        np.where(covered, colours[best], 0),
        _grounds(scene),
        mask.reshape(PATCHES, half * half),
        shares,
    )


def wide_cover(scene: Wide, said: Floats) -> Cover:
    """As :func:`cover`, from what the patches say; a colour that is not sure counts as −100."""
    colours = said[:, _COLOUR:_SHAPE]
    most = colours.max(axis=1)
    sure = np.where(most > 0.5, colours.argmax(axis=1) + 1, np.where(most < 0.05, 0, -100))
    return Cover(
        np.zeros(PATCHES, np.int64),
        sure,
        _grounds(scene),
        np.full((PATCHES, 49), -1, np.float32),
        np.zeros((0, PATCHES), np.float32),
    )


def _inside(scene: Scene | Wide) -> NDArray[np.bool_]:
    """Which patches' centres lie on the canvas rather than on its padding: (64,)."""
    middle = np.abs((np.arange(GRID) + 0.5) / GRID - 0.5)
    return np.outer(middle < scene.height / 2, middle < scene.width / 2).reshape(PATCHES)


def _middle(x: float, y: float) -> Floats:
    """A place in 0–1 as weights (64,) over the patches, summing to one."""
    return outer(soft_cells(y), soft_cells(x))
