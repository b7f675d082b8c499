"""What is behind the shapes and the writing: plain, shaded, striped or noisy grounds."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from .tones import Tone, sample_tone


def paint_ground(
    background: str | None, rng: np.random.Generator, size: tuple[int, int], plain: bool
) -> tuple[Image.Image, Tone]:
    """A plain, shaded or noisy ground of that colour, and the tone that it has on the whole."""
    tone = sample_tone(rng, background, purity=0.5)
    style = rng.random()
    if plain or style < 0.6:
        return Image.new("RGB", size, tone), tone
    strength = float(rng.uniform(4, 26 if background else 60))
    if style < 0.7:
        texture = _slope(rng, size) * strength
    elif style < 0.85:
        grain = int(rng.choice((1, 1, 2, 4, 12)))
        coarse = (size[1] // grain + 1, size[0] // grain + 1, int(rng.choice((1, 3))))
        texture = np.repeat(np.repeat(rng.normal(0, strength, coarse), grain, 0), grain, 1)
        texture = texture[: size[1], : size[0]]
    elif style < 0.9:
        texture = _stripes(rng, size) * strength
    elif background is None and style < 0.95:
        return _static(rng, size), (128, 128, 128)
    else:
        small = rng.normal(0, strength * 2, (8, 8)).astype(np.float32)
        blotches = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
        texture = np.asarray(blotches)[..., None]
    pixels = np.clip(np.asarray(tone, np.float32) + texture, 0, 255).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(pixels, (size[1], size[0], 3)).copy()), tone


def _slope(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A linear shade from −1 to 1 across the picture in a random direction, (h, w, 1)."""
    angle = float(rng.uniform(0, 2 * math.pi))
    x = np.linspace(-1, 1, size[0], dtype=np.float32)[None, :, None]
    y = np.linspace(-1, 1, size[1], dtype=np.float32)[:, None, None]
    return (math.cos(angle) * x + math.sin(angle) * y) / math.sqrt(2) * 1.4


def _stripes(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Bands or a chequerboard of ±1, (h, w, 1)."""
    step = int(rng.integers(3, max(4, max(size) // 6)))
    x = (np.arange(size[0]) // step % 2)[None, :, None]
    y = (np.arange(size[1]) // step % 2)[:, None, None]
    pattern = (x + y) % 2 if rng.random() < 0.5 else np.broadcast_to(y, (size[1], size[0], 1))
    return pattern.astype(np.float32) - 0.5


def _static(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Uniform random pixels around a grey, as "noisy backgrounds" often are."""
    low, high = sorted(int(v) for v in rng.integers(0, 256, size=2))
    channels = int(rng.choice((1, 3)))
    pixels = rng.integers(low, max(high, low + 20), (size[1], size[0], channels))
    return Image.fromarray(
        np.broadcast_to(np.clip(pixels, 0, 255), (size[1], size[0], 3)).astype(np.uint8)
    )
