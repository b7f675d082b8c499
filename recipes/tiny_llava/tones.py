"""Tones of colours' names, the grounds behind things, and the wear of an image."""

import io
import json
import math
from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .things import COLOURS
from .words import DATA

#: Red, green and blue, each 0-255.
Tone = tuple[int, int, int]
#: Width and height in pixels.
Size = tuple[int, int]


@cache
def anchors() -> dict[str, tuple[Tone, ...]]:
    """Return each name's tones, the plain CSS colour first; `unnamed` have no agreed name."""
    table = json.loads((DATA / "tones.json").read_text(encoding="utf-8"))
    return {name: tuple((r, g, b) for r, g, b in tones) for name, tones in table.items()}


@cache
def _named() -> tuple[NDArray[np.float64], list[str]]:
    pairs = [(tone, name) for name in COLOURS for tone in anchors()[name]]
    return np.array([tone for tone, _ in pairs], float), [name for _, name in pairs]


def nearest_name(tone: Tone) -> str:
    """Return the colour whose anchor is nearest to `tone` in RGB."""
    tones, names = _named()
    return names[int(((tones - tone) ** 2).sum(axis=1).argmin())]


def sample_tone(rng: Generator, name: str | None, purity: float = 0.3) -> Tone:
    """Return a tone of that name (None: without one): an anchor (`purity`), or one with jitter."""
    tones = anchors()[name or "unnamed"]
    plain = name is not None and rng.random() < 0.15
    anchor = tones[0 if plain else int(rng.integers(len(tones)))]
    for _ in range(0 if rng.random() < purity else 8):
        jittered = np.asarray(anchor) * rng.uniform(0.93, 1.05) + rng.normal(0, 9, size=3)
        red, green, blue = np.clip(jittered, 0, 255).astype(int).tolist()
        if name in (None, nearest_name((red, green, blue))):
            return red, green, blue
    return anchor


def paint(name: str | None, rng: Generator, size: Size, plain: bool) -> tuple[Image.Image, Tone]:
    """Return an RGB ground and its mean tone; if not `plain`, it has a texture at times."""
    (width, height), tone = size, sample_tone(rng, name, purity=0.5)
    style = 0.0 if plain else rng.random()
    if style < 0.6:
        return Image.new("RGB", size, tone), tone
    if name is None and 0.9 <= style < 0.95:
        low, high = sorted(int(value) for value in rng.integers(0, 256, size=2))
        channels = int(rng.choice((1, 3)))
        static = rng.integers(low, max(high, low + 20), (height, width, channels))
        return _image(static, size), (128, 128, 128)
    strength = rng.uniform(4, 26 if name else 60)
    x, y = np.arange(width)[None, :, None], np.arange(height)[:, None, None]
    texture: NDArray[np.floating]
    if style < 0.7:
        angle = rng.uniform(0, 2 * math.pi)
        slope = math.cos(angle) * (2 * x / width - 1) + math.sin(angle) * (2 * y / height - 1)
        texture = np.asarray(slope, np.float32)
    elif style < 0.85:
        grain, channels = int(rng.choice((1, 1, 2, 4, 12))), int(rng.choice((1, 3)))
        noise = rng.normal(0, 1, (height // grain + 1, width // grain + 1, channels))
        texture = np.repeat(np.repeat(noise, grain, 0), grain, 1)[:height, :width]
    elif style < 0.9:
        step = int(rng.integers(3, max(4, max(size) // 6)))
        bands = y // step + (x // step if rng.random() < 0.5 else 0)
        texture = np.asarray(bands % 2 - 0.5, np.float32)
    else:
        blotches = Image.fromarray(rng.normal(0, 2, (8, 8)).astype(np.float32))
        texture = np.asarray(blotches.resize(size, Image.Resampling.BICUBIC))[..., None]
    return _image(np.asarray(tone) + strength * texture, size), tone


def _image(pixels: NDArray[np.generic], size: Size) -> Image.Image:
    """Return an image of values around 0-255, (height, width, 1 or 3)."""
    bounded = np.clip(pixels, 0, 255).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(bounded, (size[1], size[0], 3)).copy())


def wear(image: Image.Image, rng: Generator) -> Image.Image:
    """Return the image after, at times, noise, blur, resizing and JPEG."""
    noisy, blurred, resized, packed = rng.random(4) < (0.12, 0.06, 0.12, 0.25)
    if noisy:
        noise = rng.normal(0, rng.uniform(3, 16), (image.height, image.width, 3))
        image = _image(np.asarray(image) + noise, image.size)
    if blurred:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    if resized:
        share, ways = rng.uniform(0.6, 1.8), Image.Resampling
        size = max(16, round(image.width * share)), max(16, round(image.height * share))
        image = image.resize(size, ways.BILINEAR if rng.random() < 0.7 else ways.NEAREST)
    if packed:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(40, 96)))
        image = Image.open(file).convert("RGB")
    return image
