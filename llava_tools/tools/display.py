"""Results that show themselves in a notebook: the image, with boxes where there are any."""

from __future__ import annotations

import base64
import html
import io
from typing import Self

from PIL import ImageDraw
from pydantic import PrivateAttr

from llava_tools.images import ImageRef
from llava_tools.tools.geometry import Box
from llava_tools.tools.spec import Result

#: Pixels of the longer side of an image in a notebook.
LARGEST = 800


class Shown(Result):
    """A result with an image. It is no part of the result's data, which stays short."""

    _image: ImageRef | None = PrivateAttr(None)
    _box: Box | None = PrivateAttr(None)

    def with_image(self, image: ImageRef, box: Box | None = None) -> Self:
        """Return the result with what it shows."""
        self._image, self._box = image, box
        return self

    def _repr_png_(self) -> bytes | None:
        """Return the image with its box, at most 800 pixels a side; None without an image."""
        return None if self._image is None else drawn(self._image, self._box)

    def _repr_html_(self) -> str | None:
        """Return the image with its box above what the result says."""
        if (png := self._repr_png_()) is None:
            return None
        data = base64.b64encode(png).decode()
        caption = html.escape(str(self))
        return (
            f'<figure><img src="data:image/png;base64,{data}" alt="{caption}">'
            f"<figcaption><code>{caption}</code></figcaption></figure>"
        )


def drawn(image: ImageRef, box: Box | None) -> bytes:
    """Return an image as PNG with a frame around a box, at most `LARGEST` pixels a side."""
    canvas = image.rgb()
    scale = min(1.0, LARGEST / max(canvas.size))
    if scale < 1:
        canvas = canvas.resize([max(1, round(length * scale)) for length in canvas.size])
    if box is not None:
        width = max(1, round(max(canvas.size) / 200))
        pen = ImageDraw.Draw(canvas)
        for colour, reach in (("white", 3 * width), ("red", width)):
            pen.rectangle(_around(box, scale, reach, canvas.size), outline=colour, width=reach)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def _around(box: Box, scale: float, reach: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a frame's outer corners, so that it covers nothing in the box, within the image."""
    x1, y1, x2, y2 = (round(edge * scale) for edge in box)
    right, bottom = (length - 1 for length in size)
    left, top = max(0, x1 - reach), max(0, y1 - reach)
    return left, top, max(left, min(right, x2 + reach - 1)), max(top, min(bottom, y2 + reach - 1))
