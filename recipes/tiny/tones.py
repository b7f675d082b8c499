"""The tones that each colour's name is drawn with, around the anchors in `data/tones.json`.

Anchors are CSS colours, plotting palettes, and darker and lighter tones that keep the name.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np

#: Red, green and blue, each 0-255.
Tone = tuple[int, int, int]


@cache
def _table() -> dict[str, tuple[Tone, ...]]:
    text = (Path(__file__).parent / "data" / "tones.json").read_text(encoding="utf-8")
    return {name: tuple((r, g, b) for r, g, b in tones) for name, tones in json.loads(text).items()}


@cache
def anchors() -> dict[str, tuple[Tone, ...]]:
    """Return each colour's tones; the first is the plain CSS colour."""
    return {name: tones for name, tones in _table().items() if name != "unnamed"}


@cache
def _flat() -> tuple[np.ndarray, list[str]]:
    tones = np.array([tone for tones in anchors().values() for tone in tones], np.float64)
    return tones, [name for name, tones in anchors().items() for _ in tones]


def nearest_name(tone: Tone) -> str:
    """Return the colour whose anchor is nearest to `tone` in RGB."""
    tones, names = _flat()
    return names[int(((tones - tone) ** 2).sum(axis=1).argmin())]


def sample_tone(rng: np.random.Generator, name: str | None, purity: float = 0.3) -> Tone:
    """Return a tone of that name, or for None one without an agreed name.

    It is an anchor with probability `purity`, else an anchor with jitter that keeps its name.
    """
    tones = _table()[name or "unnamed"]
    plain = name is not None and rng.random() < 0.15
    anchor = tones[0 if plain else int(rng.integers(len(tones)))]
    for _ in range(0 if rng.random() < purity else 8):
        jittered = np.asarray(anchor) * rng.uniform(0.93, 1.05) + rng.normal(0, 9, size=3)
        red, green, blue = np.clip(jittered, 0, 255).astype(int).tolist()
        if name in (None, nearest_name((red, green, blue))):
            return red, green, blue
    return anchor


def distance(first: Tone, second: Tone) -> float:
    """Return the distance in RGB: 0 for equal tones, 441 for black and white."""
    return float(np.linalg.norm(np.subtract(first, second)))
