"""`ImageRef`: a checked image, named by its content, and decoded on demand."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeGuard

from PIL import Image

from llava_tools.errors import ImageError
from llava_tools.images.limits import check_work, decode_limit, loaded
from llava_tools.images.pixels import as_rgb, scale_colour_key, upright
from llava_tools.images.sources import shorten
from llava_tools.images.validation import DAMAGE, read_header

#: The form of `ImageRef.handle`, as a regular expression.
HANDLE_PATTERN = "img_[0-9a-f]{24}"
#: Pixels of the longer side of an image in a notebook.
SHOWN_SIZE = 400
#: Media types that models of all providers take.
_PORTABLE = ("image/png", "image/jpeg", "image/webp", "image/gif")


@dataclass(frozen=True)
class ImageRef:
    """A checked image, named by its content. Made by `open_image`.

    Attributes:
        handle: `img_` and 24 hex digits; equal content has equal handles.
        source: Where it came from, for messages.
        size: Width and height in pixels as a viewer shows it; half of them for a JPEG of more than
            40 million pixels, which is decoded at that size.
        media_type: Of `data`, such as `image/jpeg`.
    """

    handle: str = field(init=False)
    source: str = field(compare=False)
    size: tuple[int, int] = field(compare=False)
    media_type: str = field(compare=False)
    _content: bytes | Image.Image = field(compare=False, repr=False)
    _orientation: int = field(default=1, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Computed here and nowhere else, so that no image can have the handle of another.
        object.__setattr__(self, "handle", f"img_{_digest(self._content)}")

    @property
    def data(self) -> bytes:
        """The encoded image: the original file, or a PNG if the source was pixels."""
        return self._content if isinstance(self._content, bytes) else self._png

    @cached_property
    def _png(self) -> bytes:
        assert isinstance(self._content, Image.Image)
        return _encode_png(self._content)

    @property
    def nbytes(self) -> int:
        """Memory that the image takes now: the file, or pixels and their PNG once it exists."""
        if isinstance(self._content, bytes):
            return len(self._content)
        encoded = self.__dict__.get("_png", b"")
        return 3 * self._content.width * self._content.height + len(encoded)

    def portable(self) -> tuple[bytes, str]:
        """Return the encoded image and its media type, in a format that other models take.

        PNG, JPEG, WebP and GIF stay as they are; others become PNG.

        Raises:
            ImageError: The image is damaged in a way that only decoding finds.
        """
        if self.media_type in _PORTABLE:
            return self.data, self.media_type
        with self.decoded() as image:
            return _encode_png(image), "image/png"

    @contextmanager
    def decoded(self) -> Iterator[Image.Image]:
        """Decode the image as `rgb` does for the length of a block, which may use no other one.

        Waits while other threads decode as much as memory is meant for (`limits.DecodeLimit`).

        Raises:
            ImageError: The image is damaged in a way that only decoding finds.
        """
        with decode_limit.hold(self.size):
            yield self.rgb()

    def _repr_png_(self) -> bytes:
        """Return the image for a notebook, at most `SHOWN_SIZE` pixels wide and high."""
        with self.decoded() as image:
            image.thumbnail((SHOWN_SIZE, SHOWN_SIZE))
            return _encode_png(image)

    def rgb(self) -> Image.Image:
        """Decode the image as a viewer shows it, in 8-bit RGB; the caller owns the result.

        Raises:
            ImageError: The image is damaged in a way that only decoding finds.
        """
        if not isinstance(self._content, bytes):
            return self._content.copy()
        # The decoded image is freed before its pixels are turned: both would be 512 MB.
        return upright(self._decode(self._content), self._orientation)

    def _decode(self, content: bytes) -> Image.Image:
        try:
            image = read_header(content, self.source)
            if image is None:
                raise damaged(self.source, "its format is not known any more")
            check_work(image, content, self.source)
            scale_colour_key(image, content)
            return as_rgb(loaded(image, self.source))
        except ImageError:
            raise
        except DAMAGE as error:
            raise damaged(self.source, error) from error


def is_handle(value: object) -> TypeGuard[str]:
    """Return whether a value has the form of an image's handle."""
    return isinstance(value, str) and re.fullmatch(HANDLE_PATTERN, value) is not None


def damaged(name: str, reason: object) -> ImageError:
    """Return the error for an image that is damaged or cut off."""
    text = shorten(reason, quote=False).rstrip(".")
    return ImageError(f"{name} is damaged or cut off ({text}).", "Get the file again.")


def _encode_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _digest(content: bytes | Image.Image) -> str:
    """Return 24 hexadecimal digits of the SHA-256 of a file or of pixels."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()[:24]
    digest = hashlib.sha256(f"RGB {content.width}x{content.height} ".encode())
    digest.update(content.tobytes())
    return digest.hexdigest()[:24]
