"""A plot of the losses, drawn with Pillow: every step, and their running mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

SIZE = (800, 450)
_FRAME = (60, 20, 780, 410)  # left, top, right, bottom
_STEPS, _MEAN, _INK = "#b8c4d8", "#1f4e9c", "#333333"


def plot(losses: Sequence[float], path: Path) -> None:
    """Write a PNG of losses by step; there is at least one."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = _FRAME
    highest = max(*losses, 1e-9)

    def points(values: Sequence[float]) -> list[tuple[float, float]]:
        across = (right - left) / max(1, len(values) - 1)
        return [
            (left + across * place, bottom - (bottom - top) * value / highest)
            for place, value in enumerate(values)
        ]

    draw.rectangle(_FRAME, outline=_INK)
    for quarter in range(5):
        y = bottom - (bottom - top) * quarter / 4
        draw.line((left - 4, y, left, y), fill=_INK)
        draw.text((left - 8, y), f"{highest * quarter / 4:.3g}", fill=_INK, anchor="rm")
    draw.text((left, bottom + 8), "1", fill=_INK, anchor="mt")
    draw.text((right, bottom + 8), f"{len(losses)}", fill=_INK, anchor="mt")
    draw.text(((left + right) / 2, bottom + 8), "step", fill=_INK, anchor="mt")
    draw.text((left + 10, top + 8), "loss a token; running mean", fill=_INK)
    draw.line(points(losses), fill=_STEPS, width=1)
    draw.line(points(running_mean(losses)), fill=_MEAN, width=2)
    image.save(path)


def running_mean(values: Sequence[float]) -> list[float]:
    """Return for every value the mean of those up to it, a twentieth of all at most."""
    reach = max(1, len(values) // 20)
    return [
        sum(values[max(0, end - reach) : end]) / min(reach, end)
        for end in range(1, len(values) + 1)
    ]
