"""Pictures drawn and looked at once, so that training need not run the frozen part of the eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPModel

from .captions import alter
from .clip import look
from .draw import draw, square
from .world import Scene, sample_scene

SIBLINGS = 4
"""Scenes that are drawn together: one, and others that differ from it in one or two respects."""

LOT = 1024
"""Pictures a file of the pool."""


def siblings(rng: np.random.Generator) -> list[Scene]:
    """Scenes that differ in a respect or two."""
    first = sample_scene(rng)
    others = [alter(first, rng) for _ in range(SIBLINGS - 1)]
    return [first, *(alter(o, rng) if rng.random() < 0.4 else o for o in others)]


def lot(rng: np.random.Generator, size: int = LOT) -> list[Scene]:
    """Scenes for a file of the pool, siblings side by side."""
    return [scene for _ in range(size // SIBLINGS) for scene in siblings(rng)]


class Pool:
    """Scenes and the hidden states of their pictures, kept in a folder over a training's lives.

    Only hidden states are written, (n, 65, width) float16 a file; scenes come anew from the seed.

    Attributes:
        scenes: Of all pictures, ``SIBLINGS`` side by side.
    """

    def __init__(self, folder: Path, clip: CLIPModel, seed: int, size: int = 0) -> None:
        self.scenes: list[Scene] = []
        self._hidden: list[Tensor] = []
        self._folder, self._clip, self._seed, self._size = folder, clip, seed, size or LOT
        folder.mkdir(parents=True, exist_ok=True)
        while (file := self._file()).exists():
            self.scenes += lot(self._rng(), self._size)
            self._hidden.append(torch.load(file, weights_only=True))

    def grow(self) -> None:
        """Draw one more lot and look at it."""
        rng, file = self._rng(), self._file()
        scenes = lot(rng, self._size)
        hidden = []
        for start in range(0, len(scenes), 64):
            drawn = [np.asarray(square(draw(s, rng).image)) for s in scenes[start : start + 64]]
            hidden.append(look(self._clip, torch.from_numpy(np.stack(drawn))).half())
        self._hidden.append(torch.cat(hidden).clone())
        self.scenes += scenes
        torch.save(self._hidden[-1], file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)

    def sample(self, rng: np.random.Generator, size: int) -> tuple[list[Scene], Tensor]:
        """Scenes and hidden states (size, 65, width) of random pictures with all their siblings."""
        picks = rng.choice(len(self.scenes) // SIBLINGS, size // SIBLINGS, replace=False)
        where = (picks[:, None] * SIBLINGS + np.arange(SIBLINGS)).ravel()
        hidden = [self._hidden[i // self._size][i % self._size] for i in where]
        return [self.scenes[i] for i in where], torch.stack(hidden).float()

    def __len__(self) -> int:
        return len(self.scenes)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng((self._seed, len(self._hidden)))

    def _file(self) -> Path:
        return self._folder / f"{len(self._hidden):04}.pt"
