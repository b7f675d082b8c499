"""`ImageResult`: results that a notebook displays as an image, with a box if there is one."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Self

from PIL import Image, ImageDraw
from pydantic import PrivateAttr

from llava_tools.images import ImageRef
from llava_tools.images.store import shared_store
from llava_tools.tools.geometry import Box
from llava_tools.tools.spec import ToolResult

#: Pixels of the longer side of a displayed image, at most.
MAX_SIDE = 800


class ImageResult(ToolResult):
    """A result with an image, which its fields name by a handle.

    The image itself is no part of the result's data. A restored result shows it if the image store
    of the process has it.
    """

    _image: ImageRef | None = PrivateAttr(None)

    @property
    def shown(self) -> tuple[str | None, Box | None]:
        """The handle of the image to display, None for no image, and a box on it."""
        raise NotImplementedError

    def with_image(self, image: ImageRef) -> Self:
        """Set the image to display, and return the result."""
        self._image = image
        return self

    def __eq__(self, other: object) -> bool:
        # Without the image: a restored result is equal.
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    @property
    def displayed(self) -> Sequence[tuple[ImageRef, Box | None]]:
        """The images to display, each with the box on it: one, or none if there is no image."""
        handle, box = self.shown
        image = self._image
        if image is None and handle in shared_store():
            image = shared_store().get(str(handle))
        return () if image is None else ((image, box),)

    def _repr_png_(self) -> bytes | None:
        """Return the image with its box as PNG, or None without an image."""
        return next((draw_box(image, box) for image, box in self.displayed), None)

    def _repr_html_(self) -> str | None:
        """Return the image with its box above the text of the result."""
        if (png := self._repr_png_()) is None:
            return None
        data = base64.b64encode(png).decode()
        caption = html.escape(str(self))
        return (
            f'<figure><img src="data:image/png;base64,{data}" alt="{caption}">'
            f"<figcaption><code>{caption}</code></figcaption></figure>"
        )


def draw_box(image: ImageRef, box: Box | None, max_side: int = MAX_SIDE) -> bytes:
    """Return an image as PNG with a frame around a box, at most `max_side` pixels a side."""
    buffer = io.BytesIO()
    draw_frame(image, box, max_side).save(buffer, "PNG")
    return buffer.getvalue()


def draw_frame(image: ImageRef, box: Box | None, max_side: int) -> Image.Image:
    """Return the pixels of an image with a frame around a box, at most `max_side` a side."""
    with image.decoded() as canvas:
        scale = min(1.0, max_side / max(canvas.size))
        if scale < 1:
            canvas = canvas.resize([max(1, round(length * scale)) for length in canvas.size])
    if box is not None:
        line = max(1, round(max(canvas.size) / 200))
        pen = ImageDraw.Draw(canvas)
        for colour, width in (("white", 3 * line), ("red", line)):
            pen.rectangle(_frame(box, scale, width, canvas.size), outline=colour, width=width)
    return canvas


def _frame(box: Box, scale: float, width: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a frame's outer corners: within the image, and outside the box where there is room."""
    x1, y1, x2, y2 = (round(edge * scale) for edge in box)
    right, bottom = (length - 1 for length in size)
    left, top = max(0, x1 - width), max(0, y1 - width)
    return left, top, max(left, min(right, x2 + width - 1)), max(top, min(bottom, y2 + width - 1))
