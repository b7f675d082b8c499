"""How much decoding an image may take, checked by its header, and how much is decoded at a time.

Measured with Pillow 13: within these limits no image takes more than 600 MB or 5 seconds
(`tests/hardening`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from PIL import Image, ImageFile

from llava_tools.errors import ImageError
from llava_tools.images.containers import jpeg_scans
from llava_tools.images.sources import SMALLER

#: The most pixels that an image may decode to: 256 MB as Pillow holds RGB.
MAX_PIXELS = 64_000_000
#: Less for formats whose decoders take more memory for a pixel, or more time.
_MAX_PIXELS: Mapping[str, int] = {
    "WEBP": 30_000_000,
    "AVIF": 40_000_000,
    "JPEG2000": 24_000_000,
    "JPEG": 200_000_000,
    "MPO": 200_000_000,
}
#: Of a PNM file whose largest value Pillow scales in Python.
_MAX_SCALED_PNM = 1_000_000
#: JPEGs of more pixels are decoded at half their width and height, which takes a quarter.
_WHOLE_JPEG = 40_000_000
#: Pixels times scans of a JPEG: each scan of a progressive one takes a pass over all of it.
_MAX_SCANNED = 1_500_000_000
#: Bytes of a progressive JPEG's coefficients, all of which are in memory at a time.
_MAX_COEFFICIENTS = 400_000_000

#: Pixels of an image that is large: only one of these is decoded at a time.
LARGE = 16_000_000


def check_pixels(size: tuple[int, int], name: str, limit: int = MAX_PIXELS) -> None:
    """Raise an error if an image has no pixels, or more than are decoded.

    Raises:
        ImageError: See above.
    """
    width, height = size
    if width * height > limit:
        raise ImageError(
            f"{name} has {width:,} x {height:,} pixels; the limit is {limit:,}.", SMALLER
        )
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height}).", "Give another image.")


def check_work(image: ImageFile.ImageFile, data: bytes, name: str) -> None:
    """Check what decoding an image will take, and choose half the size for a large JPEG.

    Raises:
        ImageError: It takes too much.
    """
    limit = _MAX_PIXELS.get(image.format or "", MAX_PIXELS)
    if image.format == "PPM" and image.tile and image.tile[0][0] == "ppm":
        limit = _MAX_SCALED_PNM
    check_pixels(image.size, name, limit)
    if image.format in ("JPEG", "MPO"):
        _check_jpeg(image, data, name)


def _check_jpeg(image: ImageFile.ImageFile, data: bytes, name: str) -> None:
    pixels = image.width * image.height
    scans = jpeg_scans(data)
    if pixels * scans > _MAX_SCANNED:
        raise ImageError(
            f"{name} has {image.width:,} x {image.height:,} pixels in {scans} scans, which takes "
            "too long to decode.",
            SMALLER,
        )
    sampling = [(h, v) for _, h, v, _ in image.layer]  # type: ignore[attr-defined]
    most = max(h for h, _ in sampling) * max(v for _, v in sampling) or 1
    coefficients = 2 * pixels * sum(h * v for h, v in sampling) // most
    if image.info.get("progressive") and coefficients > _MAX_COEFFICIENTS:
        raise ImageError(
            f"{name} is a progressive JPEG of {image.width:,} x {image.height:,} pixels, which "
            "takes too much memory to decode.",
            SMALLER,
        )
    if pixels > _WHOLE_JPEG:
        image.draft(image.mode, (image.width // 2, image.height // 2))


class DecodeLimit:
    """Bounds the pixels that all threads decode at a time.

    One large image is decoded at a time, and small ones as long as they have no more pixels
    together than one image may have. So nobody's small image waits for others' large ones.
    """

    def __init__(self) -> None:
        self._large = threading.Lock()
        self._small = threading.Condition()
        self._in_flight = 0

    @contextmanager
    def hold(self, size: tuple[int, int]) -> Iterator[None]:
        """Wait until an image may be decoded, and hold its pixels until the block ends."""
        pixels = size[0] * size[1]
        if pixels > LARGE:
            with self._large:
                yield
            return
        with self._small:
            self._small.wait_for(lambda: self._in_flight + pixels <= MAX_PIXELS)
            self._in_flight += pixels
        try:
            yield
        finally:
            with self._small:
                self._in_flight -= pixels
                self._small.notify_all()


#: That of this process.
decode_limit = DecodeLimit()


def too_many_pixels(name: str) -> ImageError:
    """Return the error for an image whose decoding Pillow stops at too many pixels."""
    return ImageError(f"{name} has more than {MAX_PIXELS:,} pixels, the limit.", SMALLER)


def loaded(image: ImageFile.ImageFile, name: str) -> Image.Image:
    """Decode an image, and check its size again: a GIF's first frame may exceed its screen.

    Raises:
        ImageError: It has more pixels than are decoded.
    """
    image.load()
    check_pixels(image.size, name)
    return image
