"""Which red is red: the tones that training draws for each colour's name.

Anchors are the CSS/PIL names, the palettes of common plotting and design kits, and their
darker and lighter sisters as far as people still agree on the name. A sampled tone is an anchor
with jitter, kept only while an anchor of the same name stays the nearest one.
"""

from __future__ import annotations

import numpy as np

Tone = tuple[int, int, int]

ANCHORS: dict[str, tuple[Tone, ...]] = {
    "red": (
        (255, 0, 0), (220, 20, 60), (178, 34, 34), (214, 39, 40), (244, 67, 54), (231, 76, 60),
        (200, 30, 30), (230, 25, 75), (150, 10, 15), (240, 50, 50), (139, 0, 0), (255, 60, 50),
        (235, 64, 52), (205, 40, 45), (211, 47, 47),
    ),
    "green": (
        (0, 128, 0), (0, 255, 0), (34, 139, 34), (50, 205, 50), (44, 160, 44), (76, 175, 80),
        (46, 204, 113), (39, 174, 96), (0, 100, 0), (60, 180, 75), (0, 200, 0), (40, 167, 69),
        (0, 170, 60), (124, 200, 60), (20, 150, 50), (34, 197, 94), (60, 160, 60), (90, 220, 90),
    ),
    "blue": (
        (0, 0, 255), (65, 105, 225), (30, 144, 255), (31, 119, 180), (33, 150, 243), (0, 0, 139),
        (52, 152, 219), (41, 128, 185), (0, 0, 128), (0, 130, 200), (30, 60, 200), (70, 110, 240),
        (40, 80, 220), (25, 25, 112), (59, 130, 246), (20, 80, 180), (60, 90, 200), (0, 80, 255),
    ),
    "yellow": (
        (255, 255, 0), (255, 215, 0), (255, 235, 59), (241, 196, 15), (255, 225, 25),
        (240, 230, 40), (250, 220, 50), (230, 210, 20), (255, 240, 100), (245, 215, 30),
        (255, 221, 51), (250, 240, 70), (234, 205, 8),
    ),
    "orange": (
        (255, 165, 0), (255, 140, 0), (255, 127, 14), (255, 152, 0), (230, 126, 34),
        (243, 156, 18), (245, 130, 48), (255, 127, 0), (240, 120, 20), (250, 150, 30),
        (255, 120, 20), (235, 135, 15), (249, 115, 22), (225, 110, 15),
    ),
    "purple": (
        (128, 0, 128), (148, 0, 211), (138, 43, 226), (148, 103, 189), (156, 39, 176),
        (155, 89, 182), (142, 68, 173), (145, 30, 180), (160, 32, 240), (130, 40, 180),
        (110, 30, 140), (102, 51, 153), (150, 60, 200), (147, 51, 234), (120, 60, 170),
    ),
    "pink": (
        (255, 192, 203), (255, 105, 180), (255, 20, 147), (255, 182, 193), (227, 119, 194),
        (233, 30, 99), (250, 150, 200), (245, 130, 170), (255, 130, 190), (240, 98, 146),
        (255, 160, 190), (236, 72, 153), (255, 175, 210), (244, 143, 177),
    ),
    "cyan": (
        (0, 255, 255), (0, 188, 212), (23, 190, 207), (70, 240, 240), (0, 206, 209),
        (0, 210, 220), (26, 200, 219), (50, 225, 235), (0, 230, 240), (40, 210, 230),
        (64, 224, 230), (6, 182, 212), (90, 235, 245), (20, 200, 200),
    ),
    "black": ((0, 0, 0), (10, 10, 10), (20, 20, 20), (30, 30, 30), (25, 20, 25), (35, 35, 40)),
    "white": (
        (255, 255, 255), (250, 250, 250), (245, 245, 245), (240, 240, 240), (250, 248, 240),
        (255, 250, 250),
    ),
}  # fmt: skip

UNNAMED: tuple[Tone, ...] = (
    (128, 128, 128), (160, 160, 160), (200, 200, 200), (211, 211, 211), (220, 220, 220),
    (90, 90, 90), (192, 192, 192), (105, 105, 105), (230, 220, 200), (245, 222, 179),
    (210, 225, 240), (225, 210, 235), (205, 235, 210), (255, 228, 225), (139, 90, 60),
    (180, 150, 120), (60, 70, 80), (112, 128, 144), (255, 239, 205), (222, 230, 200),
    (47, 79, 79), (170, 190, 200), (235, 235, 225), (122, 116, 104),
)  # fmt: skip
"""Tones whose name people would argue about: backgrounds that nobody is asked about."""

_NAMES = tuple(ANCHORS)
_TABLE = np.array([tone for name in _NAMES for tone in ANCHORS[name]], dtype=np.float64)
_OWNER = np.array([i for i, name in enumerate(_NAMES) for _ in ANCHORS[name]])


def nearest_name(tone: Tone) -> str:
    """The colour name that owns the anchor nearest to ``tone`` in RGB."""
    nearest = int(((_TABLE - np.asarray(tone)) ** 2).sum(axis=1).argmin())
    return _NAMES[int(_OWNER[nearest])]


def sample_tone(rng: np.random.Generator, name: str | None, purity: float = 0.3) -> Tone:
    """A tone of that name, 0–255 a channel; with probability ``purity`` an exact anchor.

    The first anchor, the plain CSS colour, is drawn more often than the others. ``None`` gives a
    tone that has no agreed name.
    """
    anchors = UNNAMED if name is None else ANCHORS[name]
    first = name is not None and rng.random() < 0.15
    anchor = anchors[0 if first else int(rng.integers(len(anchors)))]
    if rng.random() < purity:
        return anchor
    for _ in range(8):
        jittered = np.asarray(anchor) * rng.uniform(0.93, 1.05) + rng.normal(0, 9, size=3)
        red, green, blue = (int(value) for value in np.clip(jittered, 0, 255))
        if name is None or nearest_name((red, green, blue)) == name:
            return red, green, blue
    return anchor


def distance(first: Tone, second: Tone) -> float:
    """How far two tones lie apart in RGB: 0 for the same, 441 for black and white."""
    return float(np.linalg.norm(np.asarray(first, float) - np.asarray(second, float)))
