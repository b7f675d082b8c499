"""Drawn pictures in batches, with what their patches say and what covers them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .draw import draw, square
from .patches import WIDE
from .sights import Drawn, draw_sight, drawn_meaning, sample_sight
from .wide.codes import INDEX, ROLE, glyph_labels
from .world import sample_scene


@dataclass(frozen=True, slots=True)
class Batch:
    """Drawn pictures and what their patches say.

    ``pixels`` (n, 112, 112, 3) uint8; ``meanings`` (n, 64, attributes) float; ``letters`` and
    ``order`` (n, 64, 3) int64 as :func:`~recipes.tiny_llava.wide.codes.glyph_labels` has them; the
    others as in :class:`~recipes.tiny_llava.patches.Cover`, (n, 64) int64 and (n, 64, 49) float.
    """

    pixels: Tensor
    meanings: Tensor
    letters: Tensor
    order: Tensor
    shapes: Tensor
    colours: Tensor
    grounds: Tensor
    mask: Tensor

    @property
    def written(self) -> Tensor:
        """How much of characters' middles each patch holds, (n, 64) in 0–1."""
        return self.meanings[..., WIDE + INDEX : WIDE + ROLE].sum(-1).clamp(max=1)


def batch(
    rng: np.random.Generator,
    size: int,
    crowded: float = 0.5,
    plain: float = 0.0,
    wide: float = 0.0,
) -> Batch:
    """Draw ``size`` pictures, a share ``crowded`` of those of shapes grids full of them.

    A share ``wide`` shows writing, charts or pages. A share ``plain`` is shapes on white without
    textures, outlines or wear. Where shapes are as often lighter as darker than what is behind
    them, an edge tells nothing by itself, and an eye that starts there stays blind to shapes for
    long.
    """
    pixels, meanings, covers, glyphs = [], [], [], []
    for _ in range(size):
        drawn: Drawn
        if rng.random() < plain:
            drawn = draw(sample_scene(rng, crowded, white=True), rng, plain=True)
        else:
            drawn = draw_sight(sample_sight(rng, wide, crowded), rng)
        said, covered = drawn_meaning(drawn)
        pixels.append(np.asarray(square(drawn.image)))
        meanings.append(said)
        covers.append(covered)
        glyphs.append(glyph_labels(said[:, WIDE:]))
    return Batch(
        torch.from_numpy(np.stack(pixels)),
        torch.from_numpy(np.stack(meanings)),
        *(torch.from_numpy(np.stack(labels)) for labels in zip(*glyphs, strict=True)),
        *(
            torch.from_numpy(np.stack([getattr(one, name) for one in covers]))
            for name in ("shapes", "colours", "grounds", "mask")
        ),
    )
