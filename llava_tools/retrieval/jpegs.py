"""The JPEGs that an index stores: thumbnails, and pages' images."""

from __future__ import annotations

import io

from PIL import Image

from llava_tools.images import ImageRef

#: Pixels of the longer side of a thumbnail.
THUMBNAIL_SIDE = 256
#: JPEG quality of both.
JPEG_QUALITY = 80


def make_thumbnail(image: ImageRef) -> bytes:
    """Return an image as a small JPEG."""
    with image.decoded() as small:
        small.thumbnail((THUMBNAIL_SIDE,) * 2, Image.Resampling.BILINEAR, reducing_gap=2.0)
        return _encode(small)


def make_jpeg(image: ImageRef) -> bytes:
    """Return an image as a JPEG of its size."""
    with image.decoded() as pixels:
        return _encode(pixels)


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
