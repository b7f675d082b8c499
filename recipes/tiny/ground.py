"""What is behind the things in an image, and the wear of an image on its way to a reader."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .tones import Tone, sample_tone

#: Width and height in pixels.
Size = tuple[int, int]


def paint(
    background: str | None, rng: np.random.Generator, size: Size, plain: bool
) -> tuple[Image.Image, Tone]:
    """Return an RGB ground of `size` (width, height) pixels and its average tone.

    It has one tone if `plain`, else at times a slope, noise, stripes or blotches.
    """
    tone = sample_tone(rng, background, purity=0.5)
    style = 0.0 if plain else rng.random()
    if style < 0.6:
        return Image.new("RGB", size, tone), tone
    if background is None and 0.9 <= style < 0.95:
        low, high = sorted(int(value) for value in rng.integers(0, 256, size=2))
        channels = int(rng.choice((1, 3)))
        static = rng.integers(low, max(high, low + 20), (size[1], size[0], channels))
        return _image(static, size), (128, 128, 128)
    strength = rng.uniform(4, 26 if background else 60)
    return _image(np.asarray(tone) + strength * _texture(rng, size, style), size), tone


def _image(pixels: NDArray[np.generic], size: Size) -> Image.Image:
    """Return an image of values around 0-255, (height, width, 1 or 3)."""
    bounded = np.clip(pixels, 0, 255).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(bounded, (size[1], size[0], 3)).copy())


def _texture(rng: np.random.Generator, size: Size, style: float) -> NDArray[np.floating]:
    """Return values of around -1 to 1, (height, width, 1 or 3); `style` is 0.6 to 1."""
    width, height = size
    x, y = np.arange(width)[None, :, None], np.arange(height)[:, None, None]
    if style < 0.7:
        angle = rng.uniform(0, 2 * math.pi)
        slope = math.cos(angle) * (2 * x / width - 1) + math.sin(angle) * (2 * y / height - 1)
        return np.asarray(slope, np.float32)
    if style < 0.85:
        grain, channels = int(rng.choice((1, 1, 2, 4, 12))), int(rng.choice((1, 3)))
        noise = rng.normal(0, 1, (height // grain + 1, width // grain + 1, channels))
        return np.repeat(np.repeat(noise, grain, 0), grain, 1)[:height, :width]
    if style < 0.9:
        step = int(rng.integers(3, max(4, max(size) // 6)))
        bands = y // step + (x // step if rng.random() < 0.5 else 0)
        return np.asarray(bands % 2 - 0.5, np.float32)
    blotches = Image.fromarray(rng.normal(0, 2, (8, 8)).astype(np.float32))
    return np.asarray(blotches.resize(size, Image.Resampling.BICUBIC))[..., None]


def wear(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the image after, at times, noise, blur, resizing and JPEG."""
    noisy, blurred, resized, packed = rng.random(4) < (0.12, 0.06, 0.12, 0.25)
    if noisy:
        noise = rng.normal(0, rng.uniform(3, 16), (image.height, image.width, 3))
        image = _image(np.asarray(image) + noise, image.size)
    if blurred:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    if resized:
        share = rng.uniform(0.6, 1.8)
        size = max(16, round(image.width * share)), max(16, round(image.height * share))
        smooth = rng.random() < 0.7
        image = image.resize(
            size, Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
        )
    if packed:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(40, 96)))
        image = Image.open(file).convert("RGB")
    return image
