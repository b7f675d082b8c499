"""Draws how much each cell of an image matters: heat over the dimmed image, and a frame.

Brightness carries the values, so that greyscale and colour-blind people have them too: heat is
brighter than every dimmed image, and the brighter the more a cell matters. Cells up to the noise
get no heat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from PIL import Image, ImageDraw, ImageFilter

from llava_tools.images import ImageRef

#: Pixels of the longer side of a drawing: at most, and at least, so that the frame covers little.
MAX_SIDE, MIN_SIDE = 800, 320
#: Brightness of the image below the heat, 0 to 1.
BRIGHTNESS = 0.4
#: Opacity of the heat, 0 to 255, of the least value above the noise and of the highest.
OPACITY = (100, 230)
#: The heat's colours at equal steps, from blue to yellow, which most colour-blind people can tell.
#: Even the first is as bright as white is after dimming, and the brightness rises at each step.
COLOURS = (
    (70, 100, 230),
    (160, 110, 220),
    (220, 125, 175),
    (245, 160, 110),
    (255, 195, 70),
    (255, 240, 130),
)

#: Left, top, right and bottom in pixels of the image; right and bottom are exclusive.
Edges = Sequence[float]


def draw_overlay(
    image: ImageRef,
    cells: Iterable[tuple[Edges, float]],
    *,
    noise: float,
    frame: Edges | None,
    max_side: int = MAX_SIDE,
) -> Image.Image:
    """Return the pixels of an image with the heat of its cells and a frame.

    Args:
        image: The image.
        cells: The edges of each cell, which may lie beyond the image, and its value.
        noise: The value up to which a cell gets no heat.
        frame: Edges of the frame; None for no frame.
        max_side: Pixels of the longer side of the result, at most. Small images are enlarged by a
            whole factor to at least `MIN_SIDE`.
    """
    with image.decoded() as canvas:
        scale = _scale(max(canvas.size), max_side)
        width, height = (max(1, round(length * scale)) for length in canvas.size)
        if scale != 1:
            canvas = canvas.resize((width, height))
    canvas = canvas.point([round(BRIGHTNESS * level) for level in range(256)] * 3)
    scaled = [([edge * scale for edge in edges], value) for edges, value in cells]
    heat = _strengths(scaled, noise, canvas.size)
    colours = Image.merge("RGB", [heat.point(table) for table in _colour_tables()])
    canvas.paste(colours, mask=heat.point(_opacity_table()))
    if frame is not None:
        _draw_frame(canvas, [round(edge * scale) for edge in frame])
    return canvas


def _scale(side: int, max_side: int) -> float:
    if side >= max_side:
        return max_side / side
    return max(1, min(-(-MIN_SIDE // side), max_side // side))


def _strengths(
    cells: Sequence[tuple[Edges, float]], noise: float, size: tuple[int, int]
) -> Image.Image:
    """Return an image of the strength of the heat: 0 for none, 1 to 255 from noise to the peak."""
    strengths = Image.new("L", size)
    peak = max((value for _, value in cells), default=noise)
    pen = ImageDraw.Draw(strengths)
    side = min(size)
    for (left, top, right, bottom), value in cells:
        if value <= noise:
            continue
        strength = max(1, round(255 * (value - noise) / (peak - noise)))
        corners = (round(left), round(top), round(right) - 1, round(bottom) - 1)
        if corners[0] <= corners[2] and corners[1] <= corners[3]:
            pen.rectangle(corners, fill=strength)
            side = min(side, round(right - left), round(bottom - top))
    # Soft edges of a quarter of a cell: the map is no finer than its cells, and no grid distracts.
    return strengths.filter(ImageFilter.BoxBlur(side / 4))


def _colour_tables() -> Iterator[list[int]]:
    """Yield the tables from strength to red, green and blue."""
    steps = len(COLOURS) - 1
    for channel in range(3):
        table = []
        for strength in range(256):
            step, part = divmod(strength / 255 * steps, 1)
            low, high = (COLOURS[min(int(step) + i, steps)][channel] for i in (0, 1))
            table.append(round(low + part * (high - low)))
        yield table


def _opacity_table() -> list[int]:
    least, most = OPACITY
    return [0] + [round(least + (most - least) * strength / 255) for strength in range(1, 256)]


def _draw_frame(canvas: Image.Image, frame: Sequence[int]) -> None:
    """Draw a white line with black lines on both sides: one of them contrasts with everything."""
    left, top, right, bottom = frame
    right, bottom = max(left, right - 1), max(top, bottom - 1)
    line = max(1, round(max(canvas.size) / 250))
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((left, top, right, bottom), outline="black", width=3 * line)
    left, top, right, bottom = left + line, top + line, right - line, bottom - line
    if left <= right and top <= bottom:
        pen.rectangle((left, top, right, bottom), outline="white", width=line)
