"""Pictures that were never drawn: what an eye would tell of them, straight from the truth."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .patches import ATTRIBUTES, PATCHES, WIDE, codebook
from .sights import Sight, sample_sight, sight_meaning
from .wide.codes import EDGE, mistake
from .wide.sample import sample_writing
from .world import COLOURS, SHAPES, sample_scene


class Look(Protocol):
    """Makes pictures, and what the language model sees of them."""

    def __call__(
        self, rng: np.random.Generator, count: int, shapes: int, written: int = 0
    ) -> tuple[list[Sight], Tensor]:
        """``count`` pictures, then ``written`` of writing alone, then ``shapes`` of shapes.

        Returns:
            The pictures, and what is seen of all, (pictures, 64, width) float.
        """


def imagine(width: int, wide: float = 0.0) -> Look:
    """Pictures in codes, straight from the ground truth, without drawing.

    A share ``wide`` of them shows writing, charts or pages.
    """
    codes = torch.from_numpy(codebook(width))

    def look(
        rng: np.random.Generator, count: int, shapes: int, written: int = 0
    ) -> tuple[list[Sight], Tensor]:
        scenes = [sample_sight(rng, wide) for _ in range(count)]
        scenes += [sample_writing(rng) for _ in range(written)]
        scenes += [sample_scene(rng) for _ in range(shapes)]
        weights = torch.from_numpy(np.stack([blurred(sight_meaning(s), rng) for s in scenes]))
        shape = len(scenes), PATCHES, width
        noise = rng.standard_normal(shape, np.float32) * np.float32(0.04 * rng.random() ** 2)
        return scenes, weights @ codes + torch.from_numpy(noise)

    return look


def blurred(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Weights as an imperfect eye reports them: unsure of some colours, shapes and places."""
    weights = weights * (1 + 0.06 * rng.standard_normal(weights.shape, np.float32))
    unsure = 0.015 * rng.standard_normal(weights.shape, np.float32)
    unsure[:, WIDE + EDGE :] *= 0.3  # a place is told by several codes, whose errors add up
    weights += unsure
    here = np.flatnonzero(weights[:, 1 : 1 + len(COLOURS)].sum(axis=1) > 0.2)
    for patch in here:
        if rng.random() < 0.15:
            low, size = ((1, len(COLOURS)), (1 + len(COLOURS), len(SHAPES)))[int(rng.integers(2))]
            share = float(rng.uniform(0, 0.35))
            weights[patch, low : low + size] *= 1 - share
            weights[patch, low + int(rng.integers(size))] += share
    mistake(weights[:, WIDE:], rng)
    assert weights.shape == (PATCHES, len(ATTRIBUTES))
    return weights
